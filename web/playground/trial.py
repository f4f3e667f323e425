"""A call of a tool that a person tries, as far as its events came."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration

from parley.tools.v1 import execution_pb2
from parley_client.errors import ParleyError, from_status
from web.card import CallState

MAX_OUTPUT_CHARACTERS = 20_000
"""Characters of output that are kept, the newest; a program may print for as long as it runs."""


@dataclass
class Trial:
    """One call.

    Attributes:
        tool: The tool's name.
        state: How far it is.
        waited_seconds: Time that it waited; None while it does.
        fraction: Share done, 0 to 1; None where the tool cannot tell.
        message: What it is doing, for people.
        output: What it printed so far, without what is older than the limit.
        left_out: Characters of output that are older than that.
        result: The result as JSON text; None until then.
        replayed: Whether it is the result of an earlier call.
        seconds: Time that it ran; None until it ended well.
        error: What went wrong; None when nothing did.
    """

    tool: str
    state: CallState = CallState.QUEUED
    waited_seconds: float | None = None
    fraction: float | None = None
    message: str = ""
    output: str = ""
    left_out: int = 0
    result: str | None = None
    replayed: bool = False
    seconds: float | None = None
    error: ParleyError | None = None

    @property
    def running(self) -> bool:
        """Whether more may come."""
        return not self.state.ended

    def apply(self, event: execution_pb2.ToolEvent, _at: float) -> None:
        """Take in an event. A kind that is not known changes nothing."""
        handler = _HANDLERS.get(event.WhichOneof("event") or "")
        if handler is not None:
            handler(self, event)

    def fail(self, error: ParleyError, _at: float) -> None:
        """It ended badly, or the stream broke; what was printed stands."""
        self.error, self.state = error, CallState.FAILED

    def stop(self, _at: float) -> None:
        """The person cancelled it; what was printed stands."""
        self.state = CallState.STOPPED

    def _started(self, event: execution_pb2.ToolEvent) -> None:
        self.state = CallState.RUNNING
        self.waited_seconds = _seconds(event.started.queued)

    def _progressed(self, event: execution_pb2.ToolEvent) -> None:
        progress = event.progress
        self.fraction = progress.fraction if progress.HasField("fraction") else None
        self.message = progress.message

    def _printed(self, event: execution_pb2.ToolEvent) -> None:
        whole = self.output + event.output.text
        self.output = whole[-MAX_OUTPUT_CHARACTERS:]
        self.left_out += len(whole) - len(self.output)

    def _returned(self, event: execution_pb2.ToolEvent) -> None:
        self.state, self.result = CallState.DONE, event.result.content
        self.replayed, self.seconds = event.result.replayed, _seconds(event.result.duration)

    def _failed(self, event: execution_pb2.ToolEvent) -> None:
        self.error, self.state = from_status(event.error), CallState.FAILED


def _seconds(duration: Duration) -> float:
    return duration.ToTimedelta().total_seconds()


_HANDLERS = {
    "started": Trial._started,
    "progress": Trial._progressed,
    "output": Trial._printed,
    "result": Trial._returned,
    "error": Trial._failed,
}
