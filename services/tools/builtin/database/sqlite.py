"""SQLite files as sources."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from services.tools.builtin.database.sqlite_work import (
    Changed,
    DescribeArguments,
    StatementArguments,
    describe_sqlite,
    execute_sqlite,
    query_sqlite,
)
from services.tools.builtin.database.statements import Limits, Rows, Schema, Statement
from services.tools.catalogue import Arguments, LoopCall, Tool, ToolResult
from services.tools.database_errors import StatementTimeout

# SQLite looks at the clock between steps, and one step can be long.
_GRACE_SECONDS = 3.0


@dataclass(frozen=True)
class SqliteSource:
    """A SQLite file. Its statements run in worker processes.

    Attributes:
        name: The source's name.
        path: The file.
        limits: How far a statement may go.
    """

    name: str
    path: Path
    limits: Limits

    @property
    def kind(self) -> str:
        """See `Source`."""
        return "sqlite"

    async def query(self, statement: Statement, call: LoopCall) -> Rows:
        """See `Source`."""
        return Rows.model_validate(await self._run(query_sqlite, self._work(statement), call))

    async def execute(self, statement: Statement, call: LoopCall) -> int:
        """See `Source`."""
        return Changed.model_validate(await self._run(execute_sqlite, self._work(statement), call)).rows

    async def describe(self, table: str | None, call: LoopCall) -> Schema:
        """See `Source`."""
        work = DescribeArguments(
            source=self.name, path=str(self.path), seconds=self.limits.seconds, table=table
        )
        return Schema.model_validate(await self._run(describe_sqlite, work, call))

    async def close(self) -> None:
        """See `Source`; workers open the file for each statement."""

    async def _run(self, part: Tool, arguments: Arguments, call: LoopCall) -> ToolResult:
        """Run a part; a worker that does not stop by itself is killed a little later."""
        try:
            async with asyncio.timeout(self.limits.seconds + _GRACE_SECONDS):
                return await call.compute(part, arguments)
        except TimeoutError:
            raise StatementTimeout(self.name, self.limits.seconds) from None

    def _work(self, statement: Statement) -> StatementArguments:
        return StatementArguments(
            source=self.name,
            path=str(self.path),
            seconds=self.limits.seconds,
            sql=statement.sql,
            parameters=list(statement.parameters),
            rows=min(statement.rows, self.limits.rows),
            row_bytes=self.limits.row_bytes,
            total_bytes=self.limits.total_bytes,
            changed_rows=self.limits.changed_rows,
        )
