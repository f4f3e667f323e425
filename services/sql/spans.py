"""A span for each statement of a traced call.

OpenTelemetry's own instrumentation does not take SQLAlchemy 2.1, and would tell statements and
drivers' error texts, in which values stand.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.semconv.attributes.db_attributes import DB_OPERATION_NAME, DB_SYSTEM_NAME
from opentelemetry.trace import Span, SpanKind
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from services.rpc.tracing import begin_span, end_span

# A connection runs one statement at a time, and carries its span.
_RUNNING = "parley_span"


def trace_statements(engine: Engine, system: str) -> None:
    """Have this engine's statements traced.

    Args:
        engine: The engine.
        system: The database's name, as the semantic conventions spell it.
    """

    def before(
        connection: Any, _cursor: object, statement: str, _values: object, _context: object, _many: bool
    ) -> None:
        operation = statement.split(maxsplit=1)[0].upper()
        attributes = {DB_SYSTEM_NAME: system, DB_OPERATION_NAME: operation}
        connection.info[_RUNNING] = begin_span(operation, attributes, kind=SpanKind.CLIENT)

    def after(connection: Any, *_told: object) -> None:
        _end(connection.info.pop(_RUNNING, None), None)

    def fault(told: ExceptionContext) -> None:
        if told.connection is not None:
            _end(told.connection.info.pop(_RUNNING, None), told.original_exception)

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    event.listen(engine, "handle_error", fault)


def _end(span: Span | None, error: BaseException | None) -> None:
    if span is not None:
        end_span(span, error)
