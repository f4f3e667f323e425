"""Makes JSON shorter so that it stays JSON: what is long in it loses its end, and says so."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

CHARACTERS_AN_ITEM = 16
"""Texts keep so many characters where lists keep an item: half a text says less than half a list."""

_LEFT_OUT = "…"


def shortened(content: str, most_bytes: int) -> str | None:
    """JSON in no more than this many bytes of UTF-8.

    Returns:
        As much of the start of its texts, lists and objects as fits; None where
        the content is no JSON, or nothing of it fits.
    """
    try:
        value = json.loads(content)
        return _fitting(value, most_bytes)
    except (ValueError, RecursionError):
        return None


def _fitting(value: Any, most_bytes: int) -> str | None:
    """The longest that fits, found without ever writing much more than that."""
    best, enough, too_many = None, 0, 1
    while too_many <= most_bytes and (text := _written(value, too_many, most_bytes)) is not None:
        best, enough, too_many = text, too_many, 2 * too_many
    while too_many - enough > 1:
        middle = (enough + too_many) // 2
        if (text := _written(value, middle, most_bytes)) is None:
            too_many = middle
        else:
            best, enough = text, middle
    return best


def _written(value: Any, items: int, most_bytes: int) -> str | None:
    text = json.dumps(_cut(value, items), ensure_ascii=False, separators=(",", ":"))
    return text if len(text.encode()) <= most_bytes else None


def _cut(value: Any, items: int) -> Any:
    """The value with so many items in its lists and objects, and texts as long as goes with that."""
    match value:
        case str():
            more = len(value) - CHARACTERS_AN_ITEM * items
            return f"{value[:-more]}{_LEFT_OUT} [{more} characters left out]" if more > 0 else value
        case list():
            kept = [_cut(each, items) for each in value[:items]]
            more = len(value) - items
            return [*kept, f"{_LEFT_OUT} [{more} items left out]"] if more > 0 else kept
        case dict():
            fields = {key: _cut(each, items) for key, each in islice(value.items(), items)}
            more = len(value) - items
            return {**fields, _LEFT_OUT: f"[{more} fields left out]"} if more > 0 else fields
    return value
