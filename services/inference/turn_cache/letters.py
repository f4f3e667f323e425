"""What replicas write to each other about turns that they share, through the cache's store."""

from __future__ import annotations

import json
from dataclasses import dataclass

from services.inference.reading.step import Step
from services.inference.turn_cache import codec

MAX_LETTER_BYTES = 8 * 2**20
STEPS_A_LETTER = 256


@dataclass(frozen=True, slots=True)
class Follow:
    """Send me the steps of a flight from here on; said again and again for as long as they are wanted."""

    flight_id: str
    replica: str
    at: int


@dataclass(frozen=True, slots=True)
class Leave:
    """I want no more of a flight."""

    flight_id: str
    replica: str


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps of a flight, the first of them the `at`th; none only say that it lives.

    `is_last` where there are no more after them.
    """

    flight_id: str
    at: int
    steps: tuple[Step, ...]
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class Gone:
    """A flight is over, or never was: look it up again. `failed` where the engine gave it up."""

    flight_id: str
    failed: bool = False


Letter = Follow | Leave | Steps | Gone


def write(letter: Letter) -> bytes:
    """A letter as it travels."""
    return json.dumps(codec.encode(letter), separators=(",", ":")).encode()


def read(body: bytes) -> Letter:
    """A letter that came.

    Raises:
        ValueError: It is none, or too long.
    """
    if len(body) > MAX_LETTER_BYTES:
        raise ValueError("the letter is too long")
    try:
        letter: Letter = codec.decode(Letter, json.loads(body))
    except RecursionError:
        raise ValueError("the letter is too deep") from None
    return letter
