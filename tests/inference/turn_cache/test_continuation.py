"""Going on with what another began: nothing lost, nothing doubled, wherever the chunks are cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.engine.turn import ToolCall
from services.inference.reading.step import (
    ContentDelta,
    Delta,
    ReasoningDelta,
    Step,
    StopReason,
    ToolCallDelta,
    TurnEnd,
    TurnUsage,
)
from services.inference.turn_cache.continuation import Continuation, Diverged

TEXTS = (
    ("reasoning", "Let me think."),
    ("content", "The answer is: "),
    ("call", '{"a":1,"b":2}'),
    ("call", "{}"),
)


def cut(lengths: Sequence[int], name: str) -> list[Step]:
    """The turn, cut into chunks of these lengths, with its calls named after who says it."""
    deltas: list[Delta] = []
    sizes = iter(lengths)
    for index, (kind, text) in enumerate(TEXTS):
        if kind == "call":
            deltas.append(ToolCallDelta(index - 2, f"{name}-{index}", "add", ""))
        while text:
            size = next(sizes, len(text))
            chunk, text = text[:size], text[size:]
            made = {"reasoning": ReasoningDelta, "content": ContentDelta}.get(kind)
            deltas.append(made(chunk) if made else ToolCallDelta(index - 2, "", "", chunk))
    steps = [Step((delta,), TurnUsage(1, at)) for at, delta in enumerate(deltas, start=1)]
    calls = tuple(ToolCall(f"{name}-{index}", "add", TEXTS[index][1]) for index in (2, 3))
    return [*steps, Step((), TurnUsage(1, len(steps) + 1), TurnEnd(StopReason.STOP, calls))]


def heard(steps: Iterable[Step]) -> tuple[str, str, list[str], list[str], list[str]]:
    """What a client has of it: both texts, the calls' arguments, their ids, and those of the end."""
    reasoning = content = ""
    arguments: dict[int, str] = {}
    ids: list[str] = []
    ended: list[str] = []
    for step in steps:
        for delta in step.deltas:
            match delta:
                case ReasoningDelta(text):
                    reasoning += text
                case ContentDelta(text):
                    content += text
                case ToolCallDelta():
                    ids += [delta.id] if delta.id else []
                    arguments[delta.index] = arguments.get(delta.index, "") + delta.arguments
        ended += [call.id for call in step.end.calls] if step.end else []
    return reasoning, content, list(arguments.values()), ids, ended


LENGTHS = st.lists(st.integers(1, 9), max_size=40)


@settings(max_examples=60)
@given(LENGTHS, LENGTHS, st.integers(0, 60))
def test_a_turn_goes_on_where_it_was_left_however_both_are_cut(
    first: list[int], second: list[int], left_at: int
) -> None:
    before = cut(first, "first")
    said = before[: min(left_at, len(before) - 1)]
    going_on = Continuation(said)
    new = [step for each in cut(second, "second") if (step := going_on.read(each)) is not None]
    reasoning, content, arguments, announced, ended = heard([*said, *new])
    assert (reasoning, content) == ("Let me think.", "The answer is: ")
    assert arguments == ['{"a":1,"b":2}', "{}"]
    assert announced == ended
    assert new[-1].end is not None


def test_choices_may_take_turns_otherwise() -> None:
    def step(choice: int, text: str, *, end: bool = False) -> Step:
        stop = TurnEnd(StopReason.STOP) if end else None
        return Step((ContentDelta(text, choice),), TurnUsage(1, 1), stop, choice)

    said = [step(0, "one "), step(1, "eins "), step(0, "two", end=True), step(1, "zwei ")]
    again = [step(1, "eins zwei "), step(0, "one two", end=True), step(1, "drei", end=True)]
    going_on = Continuation(said)
    new = [new for each in again if (new := going_on.read(each)) is not None]
    assert [each for each in new if each.deltas or each.end] == [step(1, "drei", end=True)]


@pytest.mark.parametrize(
    "other",
    [
        [Step((ContentDelta("The reply"),), TurnUsage(1, 1))],
        [Step((ReasoningDelta("The answer"),), TurnUsage(1, 1))],
        [Step((ToolCallDelta(0, "x", "add", ""),), TurnUsage(1, 1))],
        [Step((ContentDelta("The"),), TurnUsage(1, 1), TurnEnd(StopReason.STOP))],
    ],
    ids=["words", "channel", "call", "end"],
)
def test_whoever_says_otherwise_cannot_go_on(other: list[Step]) -> None:
    going_on = Continuation([Step((ContentDelta("The answer"),), TurnUsage(1, 2))])
    with pytest.raises(Diverged):
        [going_on.read(step) for step in other]


def test_where_nothing_was_said_every_step_passes_as_it_is() -> None:
    steps = cut([], "first")
    going_on = Continuation(())
    assert [going_on.read(step) for step in steps] == steps
