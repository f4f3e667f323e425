from __future__ import annotations

import pytest

from services.inference.images.marks import marks_among, tokens_of, unmarked

PAD, START = "<|image_pad|>", "<|vision_start|>"


def test_marks_are_found_by_the_names_of_tokens() -> None:
    added = [PAD, START, "[IMG]", "<start_of_image>", "<|im_start|>", "image", "<|end|>", "<tool_call>"]
    assert marks_among(added) == {PAD, START, "[IMG]", "<start_of_image>"}


def test_tokens_are_found_by_the_names_of_fields() -> None:
    config = {
        "image_token_id": 7,
        "image_token_index": 8,
        "vision_start_token_id": 9,
        "boi_token_index": 10,
        "video_token_id": None,
        "eos_token_id": 1,
        "image_size": 32,
    }
    assert tokens_of(config) == {7, 8, 9, 10}


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("no mark", "no mark"),
        (f"a {PAD} b", "a < |image_pad|> b"),
        (f"{PAD}{PAD}", "< |image_pad|>< |image_pad|>"),
        (f"{START}{PAD}", "< |vision_start|>< |image_pad|>"),
        ("< |image_pad|>", "< |image_pad|>"),
    ],
)
def test_a_mark_is_written_as_a_text(said: str, written: str) -> None:
    write = unmarked([PAD, START, START + PAD])
    assert write(said) == written
    assert write(written) == written
