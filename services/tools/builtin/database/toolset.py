"""The tools of the database category."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from services.tools.builtin.database.sources import Sources
from services.tools.builtin.database.statements import Parameter, Rows, Schema, Statement, Table
from services.tools.catalogue import (
    Arguments,
    Category,
    Example,
    LoopCall,
    SafetyLevel,
    Tool,
    ToolResult,
    tool,
)

MAX_SQL_CHARACTERS = 32 * 2**10
MAX_OUTPUT_BYTES = 512 * 2**10
# Statements have a limit of their own, at most 300 s by the settings; this is the net below it.
TIMEOUT_SECONDS = 320.0
NOT_CONFIGURED = "no SQL source is configured; the operator sets PARLEY_TOOLS_DATABASE_SOURCES"

SourceName = Annotated[
    str | None,
    Field(
        max_length=64,
        description="Name of the source, as db_schema lists them. Not needed where there is only one.",
        examples=["shop"],
    ),
]
Sql = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_SQL_CHARACTERS,
        description="One statement. Placeholders are ? on SQLite and $1, $2, … on PostgreSQL.",
    ),
]
Parameters = Annotated[
    list[Annotated[Parameter, Field(union_mode="smart")]],
    Field(
        max_length=100,
        description="Values for the placeholders, in their order. Never write them into the SQL.",
    ),
]


class DbQueryArguments(Arguments):
    """What `db_query` takes."""

    query: Annotated[Sql, Field(examples=["SELECT name, price FROM lamps WHERE price < ?"])]
    params: Parameters = Field(default_factory=list)
    source: SourceName = None
    max_rows: int = Field(100, ge=1, le=100_000, description="Rows to give; the rest is cut off.")


class DbQueryResult(Rows):
    """What `db_query` gives."""

    source: str = Field(description="The source's name.")
    row_count: int = Field(description="Rows that are given.")


class DbExecuteArguments(Arguments):
    """What `db_execute` takes."""

    statement: Annotated[Sql, Field(examples=["UPDATE lamps SET price = ? WHERE name = ?"])]
    params: Parameters = Field(default_factory=list)
    source: SourceName = None


class DbExecuteResult(ToolResult):
    """What `db_execute` gives."""

    source: str = Field(description="The source's name.")
    changed_rows: int = Field(description="Rows that were inserted, updated or deleted.")


class DbSchemaArguments(Arguments):
    """What `db_schema` takes."""

    source: str | None = Field(None, max_length=64, description="The source. Default: list the sources.")
    table: str | None = Field(None, max_length=200, description="Only this table or view. Default: all.")


class SourceInfo(ToolResult):
    """A source that the caller may use."""

    name: str
    kind: str = Field(description="sqlite or postgresql.")
    writable: bool = Field(description="Whether db_execute may change it.")
    description: str = Field(description="What is in it.")


class DbSchemaResult(ToolResult):
    """What `db_schema` gives."""

    sources: list[SourceInfo] | None = Field(None, description="The sources, where none was named.")
    tables: list[Table] | None = Field(None, description="Tables and views of the source.")
    truncated: bool | None = Field(None, description="There are more tables or columns.")


QUERY_EXAMPLE = Example(
    "Which lamps are cheap?",
    {
        "source": "shop",
        "query": "SELECT name, price FROM lamps WHERE price < ? ORDER BY price",
        "params": [20],
    },
    {
        "source": "shop",
        "columns": ["name", "price"],
        "rows": [["oil", 12.5]],
        "truncated": False,
        "row_count": 1,
    },
    varies=True,
)
EXECUTE_EXAMPLE = Example(
    "Change a price",
    {"source": "shop", "statement": "UPDATE lamps SET price = ? WHERE name = ?", "params": [14, "oil"]},
    {"source": "shop", "changed_rows": 1},
    varies=True,
)
SCHEMA_EXAMPLE = Example(
    "What is in the shop?",
    {"source": "shop", "table": "lamps"},
    {
        "tables": [
            {
                "name": "lamps",
                "columns": [
                    {"name": "name", "type": "TEXT", "nullable": False, "primary_key": True},
                    {"name": "price", "type": "REAL", "nullable": True, "primary_key": False},
                ],
            }
        ],
        "truncated": False,
    },
    varies=True,
)


def database_tools(sources: Sources) -> tuple[Tool, ...]:
    """The tools on these sources; without any, tools that say why they cannot be called."""
    tools = (_query_tool(sources), _execute_tool(sources), _schema_tool(sources))
    if sources:
        return tools
    return tuple(replace(made, unavailable=NOT_CONFIGURED) for made in tools)


def _query_tool(sources: Sources) -> Tool:
    @tool(
        category=Category.DATABASE,
        safety=SafetyLevel.RESTRICTED,
        timeout_seconds=TIMEOUT_SECONDS,
        max_output_bytes=MAX_OUTPUT_BYTES,
        examples=(QUERY_EXAMPLE,),
    )
    async def db_query(arguments: DbQueryArguments, call: LoopCall) -> DbQueryResult:
        """Reads rows from a SQL source by one query that changes nothing."""
        found = sources.find(arguments.source, call.principal)
        asked = Statement(arguments.query, tuple(arguments.params), arguments.max_rows)
        rows = await found.source.query(asked, call)
        return DbQueryResult(source=found.name, row_count=len(rows.rows), **dict(rows))

    return db_query


def _execute_tool(sources: Sources) -> Tool:
    @tool(
        category=Category.DATABASE,
        safety=SafetyLevel.DANGEROUS,
        timeout_seconds=TIMEOUT_SECONDS,
        idempotent=False,
        examples=(EXECUTE_EXAMPLE,),
    )
    async def db_execute(arguments: DbExecuteArguments, call: LoopCall) -> DbExecuteResult:
        """Inserts, updates or deletes rows of a SQL source by one statement, wholly or not at all."""
        found = sources.find(arguments.source, call.principal)
        found.require_writable()
        changed = await found.source.execute(Statement(arguments.statement, tuple(arguments.params)), call)
        return DbExecuteResult(source=found.name, changed_rows=changed)

    return db_execute


def _schema_tool(sources: Sources) -> Tool:
    @tool(
        category=Category.DATABASE,
        safety=SafetyLevel.RESTRICTED,
        timeout_seconds=TIMEOUT_SECONDS,
        max_output_bytes=MAX_OUTPUT_BYTES,
        examples=(SCHEMA_EXAMPLE,),
    )
    async def db_schema(arguments: DbSchemaArguments, call: LoopCall) -> DbSchemaResult:
        """Lists the SQL sources, or the tables and columns of one."""
        if arguments.source is None:
            return DbSchemaResult(sources=_list(sources, call))
        found = sources.find(arguments.source, call.principal)
        schema: Schema = await found.source.describe(arguments.table, call)
        return DbSchemaResult(tables=schema.tables, truncated=schema.truncated)

    return db_schema


def _list(sources: Sources, call: LoopCall) -> list[SourceInfo]:
    return [
        SourceInfo(
            name=entry.name, kind=entry.source.kind, writable=entry.writable, description=entry.description
        )
        for entry in sources.permitted(call.principal)
    ]
