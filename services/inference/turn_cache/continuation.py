"""Goes on with a turn that was said in part, by another who says it from its beginning."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any

from services.inference.reading.step import Delta, Step, ToolCallDelta

_GROWING = ("text", "arguments")
_NOT_COMPARED = (*_GROWING, "id", "name", "logprobs")


class Diverged(Exception):
    """Who goes on says something else than was said: it cannot be taken back."""


class Continuation:
    """Leaves out of a repetition what was said already; holds every letter of it against that.

    Chunks may be cut otherwise, choices may take turns otherwise, and calls may
    be named otherwise: where a call was announced by a name, it keeps that name.
    """

    def __init__(self, said: Iterable[Step]) -> None:
        """Go on after this."""
        self._choices: defaultdict[int, _Choice] = defaultdict(_Choice)
        for step in said:
            self._choices[step.choice].expect(step)

    def read(self, step: Step) -> Step | None:
        """What of a step is new; None where nothing is.

        Raises:
            Diverged: It says something else than was said.
        """
        return self._choices[step.choice].read(step)


class _Choice:
    """Goes on with one choice of the turn."""

    def __init__(self) -> None:
        self._expected: deque[tuple[Any, str]] = deque()
        self._ids: dict[int, str] = {}
        self._renamed: dict[str, str] = {}
        self._had_end = False

    def expect(self, step: Step) -> None:
        """The step was said."""
        self._had_end = step.end is not None
        for delta in step.deltas:
            self._expect(delta)

    def _expect(self, delta: Delta) -> None:
        for slot, text in _pieces(delta):
            if text and self._expected and self._expected[-1][0] == slot:
                text = self._expected.pop()[1] + text
            self._expected.append((slot, text))
        if isinstance(delta, ToolCallDelta) and delta.id:
            self._ids[delta.index] = delta.id

    def read(self, step: Step) -> Step | None:
        """See `Continuation.read`."""
        if self._expected:
            step = replace(step, deltas=tuple(self._new(step.deltas)))
        if step.end is None:
            return step if step.deltas or not self._expected else None
        if self._expected:
            raise Diverged
        return None if self._had_end else self._rename(step)

    def _new(self, deltas: Sequence[Delta]) -> Iterable[Delta]:
        for delta in deltas:
            rest = self._skip(delta)
            if rest is not None:
                yield rest

    def _skip(self, delta: Delta) -> Delta | None:
        """What a delta says beyond what was said; None for nothing."""
        if isinstance(delta, ToolCallDelta) and delta.id in self._renamed:
            raise Diverged
        left = ""
        for slot, text in _pieces(delta):
            if not self._expected:
                if not text:
                    return delta  # A call begins that was not announced.
                left = text
                break
            if isinstance(delta, ToolCallDelta) and delta.id and not text:
                self._renamed[delta.id] = self._ids.get(delta.index, delta.id)
            left = self._match(slot, text)
        return _with_text(delta, left) if left else None

    def _match(self, slot: Any, text: str) -> str:
        """Hold text against what was said; gives what goes beyond.

        Raises:
            Diverged: It differs.
        """
        if not text and self._expected[0] != (slot, ""):
            raise Diverged
        if not text:
            self._expected.popleft()
        while text and self._expected:
            expected, said = self._expected.popleft()
            both = min(len(said), len(text))
            if expected != slot or not both or said[:both] != text[:both]:
                raise Diverged
            text = text[both:]
            if said[both:]:
                self._expected.appendleft((expected, said[both:]))
        return text

    def _rename(self, step: Step) -> Step:
        """The step's calls by the names by which they were announced."""
        if step.end is None or not self._renamed:
            return step
        calls = tuple(replace(call, id=self._renamed.get(call.id, call.id)) for call in step.end.calls)
        return replace(step, end=replace(step.end, calls=calls))


def _pieces(delta: Delta) -> list[tuple[Any, str]]:
    """What a delta says, each with the place where it says it: the announcement of a call, and text."""
    place = tuple(getattr(delta, each.name) for each in fields(delta) if each.name not in _NOT_COMPARED)
    slot = (type(delta).__name__, *place)
    pieces = [] if not (text := _text(delta)) else [(slot, text)]
    if isinstance(delta, ToolCallDelta) and delta.id:
        return [((*slot, delta.name), ""), *pieces]
    return pieces


def _text(delta: Delta) -> str:
    return delta.arguments if isinstance(delta, ToolCallDelta) else delta.text


def _with_text(delta: Delta, text: str) -> Delta:
    if isinstance(delta, ToolCallDelta):
        return replace(delta, id="", name="", arguments=text)
    return replace(delta, text=text)
