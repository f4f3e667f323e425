"""What can go wrong with SQL sources. No message holds a source's URL."""

from __future__ import annotations

from parley.tools.v1 import error_reason_pb2
from services.tools.errors import ToolsError, quoted

MAX_TOLD_CHARACTERS = 500


class SourceUnknown(ToolsError):
    """The operator named no SQL source of this name."""

    reason = error_reason_pb2.ERROR_REASON_SOURCE_UNKNOWN

    def __init__(self, source: str, nearest: str) -> None:
        source = quoted(source)
        hint = f"Did you mean {nearest}?" if nearest else "db_schema without a source lists those there are."
        super().__init__(
            f"There is no SQL source {source}. {hint}", metadata={"source": source, "nearest": nearest}
        )


class SourceUnavailable(ToolsError):
    """The SQL source cannot be reached, or is not set up as it must be."""

    reason = error_reason_pb2.ERROR_REASON_SOURCE_UNAVAILABLE

    def __init__(self, source: str, why: str) -> None:
        super().__init__(f"The SQL source {source} cannot be used now: {why}.", metadata={"source": source})


class StatementNotAllowed(ToolsError):
    """The statement does what the tool or the source does not allow."""

    reason = error_reason_pb2.ERROR_REASON_STATEMENT_NOT_ALLOWED

    def __init__(self, source: str, why: str) -> None:
        super().__init__(f"The statement is not allowed: {why}.", metadata={"source": source})


class StatementInvalid(ToolsError):
    """The statement is no SQL that the source understands, or its parameters do not fit."""

    reason = error_reason_pb2.ERROR_REASON_STATEMENT_INVALID

    def __init__(self, source: str, why: str) -> None:
        super().__init__(
            f"The statement is not valid: {why[:MAX_TOLD_CHARACTERS]}.", metadata={"source": source}
        )


class StatementFailed(ToolsError):
    """The statement ran and failed; nothing was changed."""

    reason = error_reason_pb2.ERROR_REASON_STATEMENT_FAILED

    def __init__(self, source: str, why: str) -> None:
        super().__init__(
            f"The statement failed and changed nothing: {why[:MAX_TOLD_CHARACTERS]}.",
            metadata={"source": source},
        )


class StatementTimeout(ToolsError):
    """The statement took longer than it may; nothing was changed."""

    reason = error_reason_pb2.ERROR_REASON_STATEMENT_TIMEOUT

    def __init__(self, source: str, timeout_seconds: float) -> None:
        super().__init__(
            f"The statement was stopped because it took longer than {timeout_seconds:g} s, "
            "and changed nothing; ask for less at once.",
            metadata={"source": source, "timeout_seconds": f"{timeout_seconds:g}"},
        )


class TooManyRows(ToolsError):
    """The statement would change more rows than it may; nothing was changed."""

    reason = error_reason_pb2.ERROR_REASON_TOO_MANY_ROWS

    def __init__(self, source: str, limit: int) -> None:
        super().__init__(
            f"The statement would change more than {limit} rows, and changed nothing.",
            metadata={"source": source, "limit": str(limit)},
        )
