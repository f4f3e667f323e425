"""The tokens of the turn that a run is in, for whoever goes on with it."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from services.inference.reading.step import Step

_TOKEN = array("I")
_TURN = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tokens of a turn that belong at a place of what is kept of it.

    Attributes:
        offset: The place, in bytes.
        packed: The tokens, and the turn before the first of them.
    """

    offset: int
    packed: bytes


class TokenTrail:
    """Keeps the tokens of the current turn: at most as many as the model's context has, 4 bytes each."""

    def __init__(self) -> None:
        """Begin before the first turn."""
        self._turn = 0
        self._beginnings = 0
        self._ids = array("I")

    def begin(self, turn: int, token_ids: Sequence[int]) -> None:
        """A turn, counted from 0, begins with these tokens, or begins again."""
        self._turn, self._ids = turn, array("I", token_ids)
        self._beginnings += 1

    def note(self, turn: int, step: Step) -> None:
        """A step was said; the first of a turn has all of its tokens."""
        if step.choice_tokens == len(step.token_ids):
            self.begin(turn, step.token_ids)
        else:
            self._ids.extend(step.token_ids)

    @property
    def mark(self) -> tuple[int, int]:
        """How far the trail is."""
        return self._beginnings, len(self._ids)

    def since(self, mark: tuple[int, int]) -> Stretch:
        """What came after a mark; all of the turn where it has begun since."""
        beginnings, count = mark
        if beginnings != self._beginnings or not count:
            return Stretch(0, _TURN.pack(self._turn) + self._ids.tobytes())
        return Stretch(_TURN.size + count * _TOKEN.itemsize, self._ids[count:].tobytes())


def unpack(packed: bytes) -> tuple[int, tuple[int, ...]]:
    """A turn and its tokens, as they were kept; nothing of the first turn where they are not."""
    if len(packed) < _TURN.size:
        return 0, ()
    ids = array("I")
    whole = (len(packed) - _TURN.size) // ids.itemsize * ids.itemsize
    ids.frombytes(packed[_TURN.size : _TURN.size + whole])
    return _TURN.unpack_from(packed)[0], tuple(ids)
