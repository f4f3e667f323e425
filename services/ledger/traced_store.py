"""A client of a Redis-protocol store with a span for each command of a traced call.

OpenTelemetry's own instrumentation would tell the texts of errors and scripts, and make a trace
of each time that a loop looks for something.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.semconv.attributes.db_attributes import (
    DB_OPERATION_BATCH_SIZE,
    DB_OPERATION_NAME,
    DB_SYSTEM_NAME,
)
from opentelemetry.trace import SpanKind
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from services.rpc.tracing import Attributes, span

SYSTEM = {DB_SYSTEM_NAME: "redis"}
PIPELINE = "PIPELINE"


class TracedStore(Redis):
    """A client as its base is."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command, and tell its name alone."""
        name = str(args[0])
        with span(name, {**SYSTEM, DB_OPERATION_NAME: name}, kind=SpanKind.CLIENT):
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """Commands that go together."""
        return _TracedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class _TracedPipeline(Pipeline):
    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Run the commands, and tell how many there are."""
        size = len(self.command_stack)
        attributes: Attributes = {**SYSTEM, DB_OPERATION_NAME: PIPELINE, DB_OPERATION_BATCH_SIZE: size}
        with span(PIPELINE, attributes, kind=SpanKind.CLIENT):
            return await super().execute(raise_on_error)
