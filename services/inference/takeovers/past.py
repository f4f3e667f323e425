"""What a run was before its replica was lost, read from its own events."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from ulid import ULID

from parley.inference.v1 import chat_pb2
from services.inference.engine.turn import Message, ToolCall
from services.inference.reading.step import (
    ContentDelta,
    Delta,
    ReasoningDelta,
    StopReason,
    ToolCallDelta,
    TurnEnd,
)
from services.inference.runs.events import CallResult, RunUsage
from services.inference.runs.transcript import RunTranscript, TurnRecord


@dataclass(slots=True)
class PastTurn:
    """The turn in which a run was cut.

    Attributes:
        deltas: What its client was told of it.
        token_ids: Its tokens, that and more; empty where it is to be said again.
        is_over: Whether the model was done, and its calls ran.
        calls: Calls that the client was told of.
        decided: Calls that somebody approved or did not, or that nobody decided on in time.
        results: How calls ended.
    """

    deltas: list[Delta] = field(default_factory=list)
    token_ids: tuple[int, ...] = ()
    is_over: bool = False
    calls: dict[str, ToolCall] = field(default_factory=dict)
    decided: set[str] = field(default_factory=set)
    results: dict[str, CallResult] = field(default_factory=dict)

    def all_calls(self) -> tuple[ToolCall, ...]:
        """Its calls: those that were told of, and after them those that were only written."""
        written: dict[int, ToolCall] = {}
        for delta in self.deltas:
            if isinstance(delta, ToolCallDelta):
                call = written.get(delta.index, ToolCall(delta.id, delta.name, ""))
                written[delta.index] = replace(call, arguments=call.arguments + delta.arguments)
        return tuple(self.calls.get(call.id, call) for _, call in sorted(written.items()))

    def record(self) -> TurnRecord:
        """The turn as the run's own loop had it."""
        record = TurnRecord()
        for delta in self.deltas:
            match delta:
                case ContentDelta(text):
                    record.content.append(text)
                case ReasoningDelta(text):
                    record.reasoning.append(text)
                case _:
                    pass  # Its end has the calls.
        if self.is_over:
            record.choices[0].end = TurnEnd(StopReason.STOP, self.all_calls())
        record.results = {call_id: result.content for call_id, result in self.results.items()}
        return record

    @property
    def is_complete(self) -> bool:
        """Whether all its calls have ended."""
        return self.is_over and all(call.id in self.results for call in self.all_calls())


@dataclass(slots=True)
class Past:
    """A run up to where it was cut.

    Attributes:
        run_id: The run.
        last: The number of its last event.
        started: Its first event; None where it was not even told that.
        rounds: Its turns that are over, with their calls; all made calls.
        turn: The turn after those.
        usage: Tokens of the turns that are over.
        is_finished: Whether it was over.
        writer: Who wrote its journal, and holds the conversation that it continues.
    """

    run_id: str
    last: int = 0
    started: chat_pb2.ChatStarted | None = None
    rounds: list[PastTurn] = field(default_factory=list)
    turn: PastTurn = field(default_factory=PastTurn)
    usage: RunUsage = field(default_factory=RunUsage)
    is_finished: bool = False
    writer: str = ""

    @property
    def spent(self) -> RunUsage:
        """What its replica had used: what need not be paid for again."""
        completion = self.usage.completion_tokens + len(self.turn.token_ids)
        return replace(self.usage, completion_tokens=completion)

    @property
    def calls(self) -> int:
        """Calls of all its rounds."""
        return sum(len(turn.all_calls()) for turn in self.rounds)

    def seconds_since_its_beginning(self) -> float:
        """How long it has been going on, by the time in its name and this replica's clock."""
        return max(0.0, time.time() - ULID.from_str(self.run_id).timestamp)

    def transcript(self, before: tuple[Message, ...]) -> RunTranscript:
        """The conversation that it goes on with."""
        transcript = RunTranscript(before)
        for turn in self.rounds:
            transcript.resume_turn(turn.record())
            transcript.end_turn()
        return transcript

    def note(self, event: chat_pb2.ChatEvent) -> None:
        """Take in its next event."""
        self.last = event.sequence
        kind = event.WhichOneof("event")
        match kind:
            case "started":
                self.started = event.started
            case "content_delta" | "reasoning_delta" | "tool_call_delta":
                self._begin_turn()
                self.turn.deltas.append(_delta(event))
            case "usage":
                self._begin_turn()
                self.turn.is_over = True
                self.usage = _usage(event.usage)
            case "finished":
                self.is_finished = True
            case _:
                self._note_call(event)

    def end(self) -> None:
        """There are no more events."""
        self._begin_turn()

    def _begin_turn(self) -> None:
        """Whatever the model says after its calls ended belongs to another turn."""
        if self.turn.is_complete:
            self.rounds.append(self.turn)
            self.turn = PastTurn()

    def _note_call(self, event: chat_pb2.ChatEvent) -> None:
        turn = self.turn
        match event.WhichOneof("event"):
            case "tool_call":
                call = event.tool_call.call
                turn.calls[call.id] = ToolCall(call.id, call.name, call.arguments)
            case "approval_decided":
                turn.decided.add(event.approval_decided.call_id)
            case "tool_result":
                told = event.tool_result
                call_of = turn.calls.get(told.call_id, ToolCall(told.call_id, told.name, ""))
                error = told.error if told.HasField("error") else None
                turn.results[told.call_id] = CallResult(call_of, told.content, error, 0.0)
            case _:
                pass  # Nothing is lost with what was told of progress, or asked of somebody.


def read_past(run_id: str, events: tuple[bytes, ...], turn: int, token_ids: tuple[int, ...]) -> Past:
    """A run from its events and the tokens of a turn.

    Args:
        run_id: The run.
        events: All of its events.
        turn: The turn that the tokens are of, counted from 0.
        token_ids: Its tokens.
    """
    past = Past(run_id)
    for event in events:
        past.note(chat_pb2.ChatResponse.FromString(event).event)
    past.end()
    if turn == len(past.rounds) and not past.turn.is_over:
        past.turn.token_ids = token_ids
    return past


def _delta(event: chat_pb2.ChatEvent) -> Delta:
    match event.WhichOneof("event"):
        case "content_delta":
            return ContentDelta(event.content_delta.text)
        case "reasoning_delta":
            return ReasoningDelta(event.reasoning_delta.text)
        case _:
            told = event.tool_call_delta
            return ToolCallDelta(told.index, told.id, told.name, told.arguments)


def _usage(told: chat_pb2.Usage) -> RunUsage:
    return RunUsage(
        told.prompt_tokens,
        told.completion_tokens,
        told.cached_prompt_tokens,
        told.reasoning_tokens,
        told.turns,
        told.reused_completion_tokens,
    )
