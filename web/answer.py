"""An answer as it grows: the events of one run, folded into what was said, called and used."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from google.rpc import status_pb2

from parley.inference.v1 import chat_pb2
from parley.tools.v1 import tool_pb2
from parley_client.errors import ParleyError, from_status
from web.card import CallState

MAX_ANSWER_CHARACTERS = 2**20
"""Characters of reasoning and text that one answer keeps; far more than any model's context."""

_FOLLOWED = frozenset({"reasoning_delta", "content_delta", "tool_call_delta"})


@dataclass
class Reasoning:
    """What the model thought before it spoke. Times are seconds of a steady clock.

    Attributes:
        started_at: When its first word came; None where it was read from what is stored.
        ended_at: When something else came; None until then.
    """

    text: str
    started_at: float | None
    ended_at: float | None = None


@dataclass
class Saying:
    """A piece of the answer itself."""

    text: str


@dataclass
class Instructions:
    """What stands above a conversation that did not begin in the page."""

    text: str


@dataclass
class Approval:
    """What a call waits for, or waited for.

    Attributes:
        safety_level: How much harm the tool could do.
        permission: The tool's permission.
        expires_at: When the call lapses, in UTC.
        sent: Whether the person's decision is on its way.
        trouble: Why the last decision was not taken; None where it was.
        outcome: What was decided; None until then.
        note: What the decider had to say.
    """

    safety_level: tool_pb2.SafetyLevel.ValueType
    permission: str
    expires_at: datetime
    sent: bool = False
    trouble: ParleyError | None = None
    outcome: chat_pb2.ApprovalOutcome.ValueType | None = None
    note: str = ""


@dataclass
class Call:
    """A tool call and what became of it.

    Attributes:
        id: Names the call in its run; empty while nothing but deltas came.
        index: Which call of its turn, counted from 0.
        round: The tool round it belongs to, counted from 1.
        fraction: Share done, 0 to 1; None where the tool cannot tell.
        result: The text that the model was given; None until the call ended.
        seconds: Time from start to end; None until then.
        approval: What it waits or waited for; None where nobody is asked.
    """

    id: str
    name: str
    arguments: str
    index: int = 0
    round: int = 1
    state: CallState = CallState.WRITING
    fraction: float | None = None
    message: str = ""
    result: str | None = None
    error: ParleyError | None = None
    seconds: float | None = None
    approval: Approval | None = None


Part = Reasoning | Saying | Call | Instructions


@dataclass
class Pace:
    """When tokens came. Times are seconds of a steady clock.

    Attributes:
        asked_at: When the question left.
        first_at: When the first token came; None until then.
        talking_seconds: Time in which tokens came, without tools and prefills.
    """

    asked_at: float
    first_at: float | None = None
    last_at: float | None = None
    talking_seconds: float = 0.0

    def token(self, at: float) -> None:
        """Tokens came."""
        self.first_at = at if self.first_at is None else self.first_at
        if self.last_at is not None:
            self.talking_seconds += at - self.last_at
        self.last_at = at

    def pause(self) -> None:
        """Something other than the model has the word."""
        self.last_at = None


@dataclass
class Answer:
    """One run's answer.

    Attributes:
        parts: Reasoning, text and calls in the order in which they began.
        variant: The variant of an alias that answers; empty where a model was asked for itself.
        is_good: What the person thinks of it; None until that is told.
        finish: Why the run ended; None while it runs.
        stopped: True when the person stopped it.
        error: What went wrong; None when nothing did.
        not_stored: Why the platform could not add it to its conversation; None where it did or need not.
    """

    pace: Pace
    model: str = ""
    run_id: str = ""
    variant: str = ""
    is_good: bool | None = None
    parts: list[Part] = field(default_factory=list)
    usage: chat_pb2.Usage | None = None
    finish: chat_pb2.FinishReason.ValueType | None = None
    stopped: bool = False
    error: ParleyError | None = None
    not_stored: ParleyError | None = None
    size: int = 0

    @property
    def running(self) -> bool:
        """Whether more may come."""
        return self.finish is None and self.error is None and not self.stopped

    @property
    def text(self) -> str:
        """Everything that was said to the person."""
        return "".join(part.text for part in self.parts if isinstance(part, Saying))

    @property
    def asking(self) -> list[Call]:
        """The calls that wait for approval, oldest first."""
        return [p for p in self.parts if isinstance(p, Call) and p.state is CallState.ASKING]

    def waiting(self, call_id: str) -> Approval | None:
        """What the call with this id waits for; None where it does not."""
        return next((call.approval for call in self.asking if call.id == call_id), None)

    def apply(self, event: chat_pb2.ChatEvent, at: float) -> None:
        """Take in an event that came at `at`. A kind that is not known changes nothing."""
        kind = event.WhichOneof("event") or ""
        if kind in _FOLLOWED:
            self.pace.token(at)
        elif kind in ("tool_call", "approval_needed", "tool_result"):
            self.pace.pause()
        if kind != "reasoning_delta":
            self._end_reasoning(at)
        handler = _HANDLERS.get(kind)
        if handler is not None:
            handler(self, event, at)

    def fail(self, error: ParleyError, at: float) -> None:
        """The stream broke; what was said stands."""
        self.error = error
        self._settle(at)

    def stop(self, at: float) -> None:
        """The person stopped it; what was said stands."""
        self.stopped = True
        self._settle(at)

    def _settle(self, at: float) -> None:
        """Nothing more will come."""
        self._end_reasoning(at)
        for part in self.parts:
            if isinstance(part, Call) and not part.state.ended:
                part.state = CallState.STOPPED

    def _end_reasoning(self, at: float) -> None:
        last = self.parts[-1] if self.parts else None
        if isinstance(last, Reasoning) and last.ended_at is None:
            last.ended_at = at

    def _room(self, text: str) -> str:
        """As much of a text as the answer may still keep."""
        kept = text[: max(0, MAX_ANSWER_CHARACTERS - self.size)]
        self.size += len(kept)
        return kept

    def _call(self, call_id: str) -> Call | None:
        """The newest call with this id."""
        return next((p for p in reversed(self.parts) if isinstance(p, Call) and p.id == call_id), None)

    def _started(self, event: chat_pb2.ChatEvent, _at: float) -> None:
        self.run_id, self.model = event.started.run_id, event.started.model
        self.variant = event.started.variant

    def _reasoned(self, event: chat_pb2.ChatEvent, at: float) -> None:
        text = self._room(event.reasoning_delta.text)
        last = self.parts[-1] if self.parts else None
        if isinstance(last, Reasoning):
            last.text += text
            last.ended_at = None
        else:
            self.parts.append(Reasoning(text, started_at=at))

    def _said(self, event: chat_pb2.ChatEvent, _at: float) -> None:
        text = self._room(event.content_delta.text)
        last = self.parts[-1] if self.parts else None
        if isinstance(last, Saying):
            last.text += text
        else:
            self.parts.append(Saying(text))

    def _wrote_call(self, event: chat_pb2.ChatEvent, _at: float) -> None:
        delta = event.tool_call_delta
        call = self._written(delta.index)
        if call is None:
            call = Call(id=delta.id, name=delta.name, arguments="", index=delta.index)
            self.parts.append(call)
        call.id, call.name = call.id or delta.id, call.name or delta.name
        call.arguments += self._room(delta.arguments)

    def _written(self, index: int) -> Call | None:
        """The call of this turn that is still being written at this index."""
        calls = (p for p in reversed(self.parts) if isinstance(p, Call))
        return next((c for c in calls if c.state is CallState.WRITING and c.index == index), None)

    def _called(self, event: chat_pb2.ChatEvent, _at: float) -> None:
        ready = event.tool_call.call
        call = self._call(ready.id)
        if call is None:
            call = Call(id=ready.id, name=ready.name, arguments="")
            self.parts.append(call)
        call.name, call.arguments, call.state = ready.name, ready.arguments, CallState.RUNNING
        call.round = max(1, event.tool_call.round)

    def _asked(self, event: chat_pb2.ChatEvent, _at: float) -> None:
        needed = event.approval_needed
        call = self._call(needed.call.id)
        if call is not None:
            expires_at = needed.expire_time.ToDatetime(UTC)
            call.arguments, call.state = needed.call.arguments, CallState.ASKING
            call.approval = Approval(needed.safety_level, needed.permission, expires_at)

    def _decided(self, event: chat_pb2.ChatEvent, _at: float) -> None:
        decided = event.approval_decided
        call = self._call(decided.call_id)
        if call is not None and call.approval is not None:
            call.approval.outcome, call.approval.note = decided.outcome, decided.note
            approved = decided.outcome == chat_pb2.APPROVAL_OUTCOME_APPROVED
            call.state = CallState.RUNNING if approved else CallState.DENIED

    def _progressed(self, event: chat_pb2.ChatEvent, _at: float) -> None:
        progress = event.tool_progress
        call = self._call(progress.call_id)
        if call is not None:
            call.fraction = progress.fraction if progress.HasField("fraction") else None
            call.message = progress.message

    def _returned(self, event: chat_pb2.ChatEvent, _at: float) -> None:
        result = event.tool_result
        call = self._call(result.call_id)
        if call is None:
            return
        call.result, call.error = result.content, _error(result, "error")
        if call.state is not CallState.DENIED:
            call.state = CallState.DONE if call.error is None else CallState.FAILED
        if result.HasField("duration"):
            call.seconds = result.duration.ToTimedelta().total_seconds()

    def _used(self, event: chat_pb2.ChatEvent, _at: float) -> None:
        self.usage = event.usage

    def _finished(self, event: chat_pb2.ChatEvent, at: float) -> None:
        self.finish, self.error = event.finished.reason, _error(event.finished, "error")
        self.not_stored = _error(event.finished, "conversation_error")
        self._settle(at)


def _error(message: chat_pb2.ToolCallResult | chat_pb2.ChatFinished, name: str) -> ParleyError | None:
    """The typed error that an event carries, if it does."""
    if not message.HasField(name):  # type: ignore[arg-type]  # both have an `error`
        return None
    status: status_pb2.Status = getattr(message, name)
    return from_status(status)


_HANDLERS = {
    "started": Answer._started,
    "reasoning_delta": Answer._reasoned,
    "content_delta": Answer._said,
    "tool_call_delta": Answer._wrote_call,
    "tool_call": Answer._called,
    "approval_needed": Answer._asked,
    "approval_decided": Answer._decided,
    "tool_progress": Answer._progressed,
    "tool_result": Answer._returned,
    "usage": Answer._used,
    "finished": Answer._finished,
}
