"""The errors of runs that outlive their clients; `error_reason.proto` says what each means."""

from __future__ import annotations

from parley.inference.v1 import error_reason_pb2
from services.inference.errors import RESTART_TIME, InferenceError


class RunLost(InferenceError):
    """The replica of a run is lost, and the run with it."""

    reason = error_reason_pb2.ERROR_REASON_RUN_LOST

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"The replica that had the run {run_id} is lost. What was said stands; ask again.",
            metadata={"run_id": run_id},
            retry_after=RESTART_TIME,
        )


class EventsGone(InferenceError):
    """Events of a run are kept no longer."""

    reason = error_reason_pb2.ERROR_REASON_EVENTS_GONE

    def __init__(self, run_id: str, first_sequence: int) -> None:
        super().__init__(
            f"Of the run {run_id} only events from number {first_sequence} on are kept.",
            metadata={"run_id": run_id, "first_sequence": str(first_sequence)},
        )


class ResumeFull(InferenceError):
    """A replica keeps as many events as it may."""

    reason = error_reason_pb2.ERROR_REASON_RESUME_FULL

    def __init__(self) -> None:
        super().__init__("As many events are kept as may be: a cut cancels this run.")
