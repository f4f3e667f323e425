"""A turn as it lies in the cache: the steps that were said, compressed, each as it was."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence

from services.inference.reading.step import Step
from services.inference.turn_cache.codec import decode, encode

HEADER = b"PT1"
LEVEL = 3
MAX_TEXT_BYTES = 64 * 2**20
"""More than any turn that is kept comes to, and less than a compressed bomb."""


class EntryBroken(ValueError):
    """What lies in the cache is no turn that was said to its end."""


def pack(steps: Sequence[Step]) -> bytes:
    """A whole turn as it lies there."""
    plain = [encode(step) for step in steps]
    return HEADER + zlib.compress(json.dumps(plain, separators=(",", ":")).encode(), LEVEL)


def unpack(entry: bytes) -> tuple[Step, ...]:
    """The turn in an entry.

    Raises:
        EntryBroken: It is none.
    """
    if not entry.startswith(HEADER):
        raise EntryBroken("it begins otherwise")
    try:
        inflating = zlib.decompressobj()
        text = inflating.decompress(entry[len(HEADER) :], MAX_TEXT_BYTES)
        if not inflating.eof:
            raise EntryBroken("it does not end")
        steps: tuple[Step, ...] = decode(tuple[Step, ...], json.loads(text))
    except (zlib.error, ValueError, RecursionError) as error:
        raise EntryBroken(str(error)) from error
    if not steps or steps[-1].end is None:
        raise EntryBroken("it is no whole turn")
    return steps
