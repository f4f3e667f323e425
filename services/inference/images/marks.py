"""The texts that show in a prompt where its images stand, and how they are written where they are said.

A model's processor looks for such a mark wherever it is in the prompt: one in
somebody's words would stand for an image that belongs elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Write = Callable[[str], str]

# What configurations call the tokens that stand for images, or around them.
_FIELD = re.compile(r"(image|img|video|vision|boi|eoi)\w*token\w*_(id|index)$")
# And what tokenizers do.
_TOKEN = re.compile(r"\W.*(image|img|video|vision).*\W", re.IGNORECASE)


def tokens_of(config: Mapping[str, Any]) -> frozenset[int]:
    """The tokens of a model's configuration that stand for images, or around them."""
    named = (value for name, value in config.items() if _FIELD.search(name))
    return frozenset(value for value in named if isinstance(value, int) and value >= 0)


def marks_among(tokens: Iterable[str]) -> frozenset[str]:
    """Those of a tokenizer's added tokens that stand for images, or around them, by their names."""
    return frozenset(token for token in tokens if _TOKEN.fullmatch(token))


def unmarked(marks: Iterable[str]) -> Write:
    """Writes texts so that these marks in them stay texts: a blank stands behind the first character."""
    # A mark may have others within it, which are broken after it.
    broken = {mark: f"{mark[0]} {mark[1:]}" for mark in sorted(marks, key=len, reverse=True)}

    def write(text: str) -> str:
        for mark, harmless in broken.items():
            if mark in text:
                text = text.replace(mark, harmless)
        return text

    return write
