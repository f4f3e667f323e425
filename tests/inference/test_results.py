from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.calling.results import NOTE_BYTES, cut


def test_what_fits_stays_as_it_is() -> None:
    assert cut("x" * 256, 256) == ("x" * 256, 0)


def test_what_does_not_says_how_much_was_left_out() -> None:
    content, omitted = cut("x" * 1000, 300)
    assert content == "x" * (300 - NOTE_BYTES) + "\n[780 of 1000 bytes were left out here]"
    assert omitted == 780


@pytest.mark.parametrize("lead", range(4))
def test_no_character_is_cut_in_two(lead: int) -> None:
    """Wherever the limit falls among the four bytes of a character."""
    whole = "x" * lead + "😀" * 300
    content, omitted = cut(whole, 256)
    kept = content.partition("\n")[0]
    assert set(kept) == {"x", "😀"} - ({"x"} if lead == 0 else set())
    assert len(kept.encode()) + omitted == len(whole.encode())


def test_the_note_fits_even_for_the_largest_result() -> None:
    content, _ = cut("x" * 2**20, 256)
    assert len(content.encode()) <= 256


def test_a_long_text_within_json_loses_its_end_and_says_so() -> None:
    whole = json.dumps({"exit_status": 0, "stdout": "x" * 5000, "files": []})
    content, omitted = cut(whole, 600)
    told = json.loads(content)
    kept, _, note = told["stdout"].partition("…")
    assert (told["exit_status"], told["files"], set(kept)) == (0, [], {"x"})
    assert note == f" [{5000 - len(kept)} characters left out]"
    assert 500 < len(content.encode()) <= 600
    assert omitted == len(whole) - len(content.encode())


def test_a_long_list_loses_its_last_items_and_no_text_is_cut_for_it() -> None:
    rows = [[number, f"name {number}"] for number in range(1000)]
    content, _ = cut(json.dumps({"columns": ["id", "name"], "rows": rows}), 2000)
    told = json.loads(content)
    *kept, note = told["rows"]
    assert kept == rows[: len(kept)]
    assert note == f"… [{1000 - len(kept)} items left out]"
    assert 1800 < len(content.encode()) <= 2000


def test_an_object_of_many_fields_keeps_the_first() -> None:
    content, _ = cut(json.dumps({f"field{number}": number for number in range(500)}), 300)
    told = json.loads(content)
    note = told.pop("…")
    assert told == {f"field{number}": number for number in range(len(told))}
    assert note == f"[{500 - len(told)} fields left out]"


def test_whole_numbers_keep_all_their_digits() -> None:
    content, _ = cut(json.dumps({"id": 2**70, "text": "é" * 1000}), 256)
    assert json.loads(content)["id"] == 2**70


def test_json_of_which_nothing_fits_is_cut_as_text() -> None:
    content, omitted = cut(json.dumps({"k" * 1000: 1}), 256)
    assert content.endswith(f"\n[{omitted} of 1007 bytes were left out here]")


def test_json_without_a_bottom_is_cut_as_text() -> None:
    assert cut("[" * 100_000 + "]" * 100_000, 300)[0].startswith("[[[")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=20), inner, max_size=20),
    max_leaves=60,
)


@settings(max_examples=30)
@given(value=VALUES, most_bytes=st.integers(256, 2000))
def test_whatever_is_cut_fits(value: object, most_bytes: int) -> None:
    whole = json.dumps(value, ensure_ascii=False)
    content, omitted = cut(whole, most_bytes)
    assert len(content.encode()) <= most_bytes
    assert omitted == 0 or "left out" in content or json.loads(content) == value


def test_a_megabyte_is_cut_in_no_time() -> None:
    """The model's other streams wait meanwhile."""
    whole = json.dumps([{"name": f"row {number}", "text": "x" * 80} for number in range(10_000)])
    began = time.process_time()
    content, _ = cut(whole, 32_768)
    assert len(json.loads(content)) > 100
    assert time.process_time() - began < 1
