"""What a run adds to its conversation."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.inference.engine import (
    ContentDelta,
    Message,
    ReasoningDelta,
    Role,
    Step,
    ToolCall,
    ToolCallDelta,
    TurnEnd,
)


@dataclass(slots=True)
class TurnRecord:
    """What the model said in a turn, and how its calls ended so far."""

    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    end: TurnEnd | None = None
    results: dict[str, str] = field(default_factory=dict)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls that the turn made."""
        return self.end.calls if self.end is not None else ()

    def note(self, step: Step) -> None:
        """Remember what a step added."""
        for delta in step.deltas:
            match delta:
                case ContentDelta(text):
                    self.content.append(text)
                case ReasoningDelta(text):
                    self.reasoning.append(text)
                case ToolCallDelta():
                    pass  # The turn's end has the calls whole.
        self.end = step.end or self.end

    def messages(self) -> tuple[Message, ...]:
        """The turn as a conversation can go on with it: without calls that have no result.

        A turn that said nothing and has no such call is left out.
        """
        answered = tuple(call for call in self.calls if call.id in self.results)
        content = "".join(self.content)
        if not content and not answered:
            return ()
        said = Message(Role.ASSISTANT, content, "".join(self.reasoning), answered)
        answers = (Message(Role.TOOL, self.results[call.id], tool_call_id=call.id) for call in answered)
        return (said, *answers)


class RunTranscript:
    """A conversation that a run goes on with, turn by turn."""

    def __init__(self, before: tuple[Message, ...]) -> None:
        """Go on with these messages."""
        self._before = before
        self._added: tuple[Message, ...] = ()
        self._turn = TurnRecord()

    @property
    def messages(self) -> tuple[Message, ...]:
        """What the next turn answers: all turns that are over."""
        return (*self._before, *self._added)

    @property
    def said(self) -> tuple[Message, ...]:
        """What the run added so far, well-formed wherever it ends."""
        return (*self._added, *self._turn.messages())

    def begin_turn(self) -> TurnRecord:
        """Another turn begins."""
        self._turn = TurnRecord()
        return self._turn

    def end_turn(self) -> None:
        """The turn and its calls are over."""
        self._added, self._turn = self.said, TurnRecord()
