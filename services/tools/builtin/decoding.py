"""From a piece of a file to text."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

_CONTINUATION_BYTES = 3  # Most that a UTF-8 character has after its first.


class NotText(Exception):
    """The bytes are no text in the encoding; the message names it."""


@dataclass(frozen=True)
class Codec:
    """How a file's text is written.

    Attributes:
        name: Python's name of the encoding.
        unit: Bytes of its smallest character; pieces begin at multiples.
        mark: The byte order mark at the file's start, which is no part of the text.
    """

    name: str
    unit: int = 1
    mark: bytes = b""


# The marks of UTF-32 begin with those of UTF-16.
_MARKED = (
    Codec("utf-8", 1, codecs.BOM_UTF8),
    Codec("utf-32-le", 4, codecs.BOM_UTF32_LE),
    Codec("utf-32-be", 4, codecs.BOM_UTF32_BE),
    Codec("utf-16-le", 2, codecs.BOM_UTF16_LE),
    Codec("utf-16-be", 2, codecs.BOM_UTF16_BE),
)
MARK_BYTES = 4
_UNMARKED = (Codec("utf-8"), Codec("windows-1252"), Codec("iso-8859-1"))


def candidates(wanted: str, head: bytes) -> tuple[Codec, ...]:
    """The encodings to try, in order.

    Args:
        wanted: The encoding that the caller asks for, or `auto`.
        head: The first `MARK_BYTES` bytes of the file.
    """
    marked = next((codec for codec in _MARKED if head.startswith(codec.mark)), None)
    if wanted == "auto":
        return (marked,) if marked else _UNMARKED
    if marked and marked.name == wanted:
        return (marked,)
    unit = next((codec.unit for codec in _MARKED if codec.name == wanted), 1)
    return (Codec(wanted, unit),)


def decode(piece: bytes, codec: Codec, *, at_start: bool, at_end: bool) -> str:
    """A piece's text; a character that the piece's edges cut is left out.

    Raises:
        NotText: It is none in this encoding.
    """
    if at_start:
        piece = piece.removeprefix(codec.mark)
    elif codec.name == "utf-8":
        piece = _from_first_character(piece)
    try:
        text = codecs.getincrementaldecoder(codec.name)().decode(piece, at_end)
    except UnicodeDecodeError:
        raise NotText(f"not {codec.name} text") from None
    if "\0" in text:
        raise NotText("not text: it holds NUL characters")
    return text


def _from_first_character(piece: bytes) -> bytes:
    """Skip the rest of a character that began before the piece."""
    skipped = 0
    while skipped < min(_CONTINUATION_BYTES, len(piece)) and piece[skipped] & 0xC0 == 0x80:
        skipped += 1
    return piece[skipped:]
