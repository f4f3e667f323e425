"""Turns as they lie in the store, and letters as they travel: what is read may come from anywhere."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.engine.turn import ToolCall
from services.inference.reading.step import (
    ContentDelta,
    ReasoningDelta,
    Step,
    StopReason,
    ToolCallDelta,
    TurnEnd,
    TurnUsage,
)
from services.inference.turn_cache import codec, letters
from services.inference.turn_cache.entry import HEADER, EntryBroken, pack, unpack
from services.inference.turn_cache.holder import Holder

STEPS = (
    Step((ReasoningDelta("a\ud83d"), ContentDelta("é\n\x00")), TurnUsage(1, 2, 3, 4)),
    Step((ToolCallDelta(0, "id", "name", "{"),), TurnUsage(1, 3)),
    Step((), TurnUsage(1, 4), TurnEnd(StopReason.LENGTH, (ToolCall("id", "name", "{"),))),
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def entry(plain: Any) -> bytes:
    return HEADER + zlib.compress(json.dumps(plain).encode())


def test_a_turn_comes_back_as_it_was() -> None:
    assert unpack(pack(STEPS)) == STEPS


def test_a_long_turn_is_much_smaller_there() -> None:
    steps = [Step((ContentDelta(f"word{n} "),), TurnUsage(100, n)) for n in range(1, 1000)]
    packed = pack([*steps, STEPS[-1]])
    assert len(packed) < len(json.dumps(codec.encode(steps))) / 5


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        pack(STEPS)[:-1],
        pack(STEPS)[:-4] + b"0000",
        entry([]),
        entry(codec.encode(STEPS[:2])),
        entry([["Step", [["ContentDelta", 7]], ["TurnUsage", 1, 1, 0, 0, 0], None]]),
        entry([["Step", [["os.system", "x"]], ["TurnUsage", 1, 1, 0, 0, 0], None]]),
        entry([["Step", [], ["TurnUsage", 1, 1, 0, 0], ["TurnEnd", "stop", []]]]),
        entry([["Step", [], ["TurnUsage", True, 1, 0, 0, 0], ["TurnEnd", "stop", []]]]),
        entry([["Step", [], ["TurnUsage", 1, 1, 0, 0, 0], ["TurnEnd", "because", []]]]),
        HEADER + zlib.compress(b"[" * 100_000),
        HEADER + zlib.compress(b"[" + b" " * (65 * 2**20)),
    ],
)
def test_what_is_no_whole_turn_is_refused(broken: bytes) -> None:
    with pytest.raises(EntryBroken):
        unpack(broken)


@settings(max_examples=60)
@given(JSON)
def test_no_plain_data_does_more_than_be_refused(plain: Any) -> None:
    with pytest.raises(EntryBroken):
        unpack(entry(plain))
    with pytest.raises(ValueError, match=r"."):
        letters.read(json.dumps(plain).encode())


@settings(max_examples=60)
@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(body: bytes) -> None:
    with pytest.raises(EntryBroken):
        unpack(HEADER + body)
    with pytest.raises(ValueError, match=r"."):
        letters.read(body)
    with pytest.raises(ValueError, match=r"."):
        Holder.read(body)


@pytest.mark.parametrize(
    "letter",
    [
        letters.Follow("f", "r", 3),
        letters.Leave("f", "r"),
        letters.Steps("f", 2, STEPS),
        letters.Gone("f", failed=True),
    ],
)
def test_letters_arrive_as_they_were_written(letter: letters.Letter) -> None:
    assert letters.read(letters.write(letter)) == letter


def test_a_letter_that_is_too_long_is_not_read() -> None:
    with pytest.raises(ValueError, match="too long"):
        letters.read(b" " * (letters.MAX_LETTER_BYTES + 1))


def test_a_holder_is_read_as_it_is_written() -> None:
    holder = Holder.new("0123456789abcdef").after(Holder("r", "f", 1))
    assert Holder.read(holder.text.encode()) == holder


def test_the_shape_of_steps_changes_with_any_of_their_parts() -> None:
    @dataclass(frozen=True)
    class Inner:
        text: str

    def outer(kind: Any) -> str:
        made = dataclass(frozen=True)(
            type("Outer", (), {"__annotations__": {"part": kind}, "__module__": __name__})
        )
        return codec.shape(made)

    assert len({outer(kind) for kind in (str, int, str | None, tuple[str, ...])}) == 4
    assert "StopReason" in codec.shape(Step)
    assert "ToolCallDelta" in codec.shape(Step)
