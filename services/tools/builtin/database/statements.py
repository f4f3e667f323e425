"""Statements, and what they give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pydantic import Field, JsonValue

from services.tools.catalogue import LoopCall, ToolResult

Parameter = str | int | float | bool | None


@dataclass(frozen=True)
class Limits:
    """How far a statement may go.

    Attributes:
        seconds: Time that it may take.
        rows: Rows that it may give; more are cut off.
        row_bytes: Bytes of one row as JSON text.
        total_bytes: Bytes of all rows as JSON text; more are cut off.
        changed_rows: Rows that it may change.
    """

    seconds: float = 10.0
    rows: int = 1000
    row_bytes: int = 64 * 2**10
    total_bytes: int = 256 * 2**10
    changed_rows: int = 1000


@dataclass(frozen=True)
class Statement:
    """A statement and what is bound to its placeholders.

    Attributes:
        sql: One statement.
        parameters: Values, in the order of the placeholders.
        rows: Rows that are wanted.
    """

    sql: str
    parameters: tuple[Parameter, ...] = ()
    rows: int = 100


class Rows(ToolResult):
    """What a query gives."""

    columns: list[str] = Field(description="The columns' names.")
    rows: list[list[JsonValue]] = Field(description="A list of values per row, in the columns' order.")
    truncated: bool = Field(description="There are more rows.")


class Column(ToolResult):
    """A column of a table."""

    name: str
    type: str = Field(description="Its type, as the source names it.")
    nullable: bool
    primary_key: bool = False


class Table(ToolResult):
    """A table or view."""

    name: str = Field(description="Its name, with the schema's where that is not the usual one.")
    columns: list[Column]


class Schema(ToolResult):
    """Tables and views of a source."""

    tables: list[Table]
    truncated: bool = Field(description="There are more tables or columns.")


class Source(Protocol):
    """A SQL source. Its methods raise errors of `services.tools.database_errors`."""

    @property
    def kind(self) -> str:
        """`sqlite` or `postgresql`."""
        ...

    async def query(self, statement: Statement, call: LoopCall) -> Rows:
        """Read."""
        ...

    async def execute(self, statement: Statement, call: LoopCall) -> int:
        """Change rows; how many were changed."""
        ...

    async def describe(self, table: str | None, call: LoopCall) -> Schema:
        """The tables, or one."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...
