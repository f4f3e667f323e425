"""What can go wrong between the calls of a caller."""

from __future__ import annotations

from parley.tools.v1 import error_reason_pb2
from services.tools.errors import ToolsError, quoted


class PredecessorUnknown(ToolsError):
    """`after` names a call that the stream was not asked for before."""

    reason = error_reason_pb2.ERROR_REASON_PREDECESSOR_UNKNOWN

    def __init__(self, call_id: str) -> None:
        super().__init__(
            f"The stream was not asked for a call {quoted(call_id)} before; ask for it first.",
            metadata={"call_id": quoted(call_id)},
        )


class PredecessorFailed(ToolsError):
    """A call that had to go well before this one did not; this one did not run."""

    reason = error_reason_pb2.ERROR_REASON_PREDECESSOR_FAILED

    def __init__(self, call_id: str) -> None:
        super().__init__(
            f"The call did not run, because {quoted(call_id)} did not go well.",
            metadata={"call_id": quoted(call_id)},
        )


class IdempotencyKeyReused(ToolsError):
    """The idempotency key belongs to an earlier call of another tool or with other arguments."""

    reason = error_reason_pb2.ERROR_REASON_IDEMPOTENCY_KEY_REUSED

    def __init__(self, key: str) -> None:
        super().__init__(
            "The idempotency key belongs to an earlier call of another tool or with other arguments; "
            "give each call its own.",
            metadata={"idempotency_key": quoted(key)},
        )


class OutcomeUnknown(ToolsError):
    """Nobody can say again how the earlier call with this idempotency key went."""

    reason = error_reason_pb2.ERROR_REASON_OUTCOME_UNKNOWN

    def __init__(self, key: str) -> None:
        super().__init__(
            "An earlier call with this idempotency key had begun when it was cut off, or its result was too "
            "large to keep. It did not run again: find out what it did before you use a new key.",
            metadata={"idempotency_key": quoted(key)},
        )
