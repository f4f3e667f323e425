"""What a run adds to its conversation."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.inference.engine.turn import Message, Role, ToolCall
from services.inference.reading.step import ContentDelta, ReasoningDelta, Step, StopReason, TurnEnd


@dataclass(slots=True)
class ChoiceRecord:
    """How far a choice is."""

    tokens: int = 0
    end: TurnEnd | None = None


@dataclass(slots=True)
class TurnRecord:
    """What the model said in a turn, and how its calls ended so far.

    Of several choices, the conversation goes on with the first.
    """

    choices: tuple[ChoiceRecord, ...] = field(default_factory=lambda: (ChoiceRecord(),))
    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    results: dict[str, str] = field(default_factory=dict)

    @property
    def end(self) -> TurnEnd | None:
        """How the turn ended: as the first choice that was not cut off, if any; None while one goes on."""
        ends = [choice.end for choice in self.choices if choice.end is not None]
        if len(ends) < len(self.choices):
            return None
        return next((end for end in ends if end.reason is StopReason.STOP), ends[0])

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls that the turn made."""
        return self.end.calls if self.end is not None else ()

    def note(self, step: Step) -> None:
        """Remember what a step added."""
        for delta in step.deltas:
            match delta:
                case ContentDelta(text, choice=0):
                    self.content.append(text)
                case ReasoningDelta(text, choice=0):
                    self.reasoning.append(text)
                case _:
                    pass  # Another choice's, or of a call: the turn's end has those whole.
        choice = self.choices[step.choice]
        choice.tokens, choice.end = step.choice_tokens, step.end or choice.end

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

    def begin_turn(self, choices: int = 1) -> TurnRecord:
        """Another turn begins, of this many choices."""
        self._turn = TurnRecord(tuple(ChoiceRecord() for _ in range(choices)))
        return self._turn

    def resume_turn(self, record: TurnRecord) -> TurnRecord:
        """A turn goes on that was begun elsewhere."""
        self._turn = record
        return record

    def end_turn(self) -> None:
        """The turn and its calls are over."""
        self._added, self._turn = self.said, TurnRecord()
