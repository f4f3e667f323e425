"""From a piece of a file to text."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_CONTINUATION_BYTES = 3  # Most that a UTF-8 or GB 18030 character has after its first.
_LINE_PIECE_CHARACTERS = 64 * 2**10
SAMPLE_BYTES = 64 * 2**10
# With fewer the library guesses wildly; Western European is the better guess then.
_MIN_FOREIGN_BYTES = 32
# What charset-normalizer may find, in Python's spelling, and what it is called here.
_DETECTABLE = {
    "cp932": "cp932",
    "euc_jp": "euc-jp",
    "gb18030": "gb18030",
    "big5": "big5",
    "euc_kr": "euc-kr",
    "cp1250": "windows-1250",
    "cp1251": "windows-1251",
    "cp1252": "windows-1252",
    "cp1253": "windows-1253",
    "koi8_r": "koi8-r",
}
_MANY_BYTES = ("utf-8", "cp932", "euc-jp", "gb18030", "big5", "euc-kr")


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
_WESTERN = (Codec("windows-1252"), Codec("iso-8859-1"))


def candidates(wanted: str, head: bytes, sample: Callable[[], bytes]) -> Iterator[Codec]:
    """The encodings to try, in order.

    Args:
        wanted: The encoding that the caller asks for, or `auto`.
        head: The first `MARK_BYTES` bytes of the file.
        sample: Reads the first `SAMPLE_BYTES` bytes; called where they are needed.
    """
    marked = next((codec for codec in _MARKED if head.startswith(codec.mark)), None)
    if marked and wanted in ("auto", marked.name):
        yield marked
    elif wanted != "auto":
        yield Codec(wanted, next((codec.unit for codec in _MARKED if codec.name == wanted), 1))
    else:
        yield Codec("utf-8")
        found = detect(sample())
        yield from (Codec(found), *_WESTERN) if found else _WESTERN


def detect(sample: bytes) -> str:
    """The legacy encoding that a sample is most likely written in, or empty."""
    if sum(byte > 0x7F for byte in sample) < _MIN_FOREIGN_BYTES:
        return ""
    import charset_normalizer  # Few files need it.

    best = charset_normalizer.from_bytes(sample, cp_isolation=list(_DETECTABLE)).best()
    return _DETECTABLE.get(best.encoding, "") if best else ""


def read_pieces(descriptor: int, codec: Codec) -> Iterator[str]:
    """A file's text from its start, in pieces that end at the latest with their line.

    Raises:
        NotText: It is none in this encoding.
    """
    with io.FileIO(descriptor, closefd=False) as file:
        file.seek(len(codec.mark))
        with io.TextIOWrapper(io.BufferedReader(file), encoding=codec.name, newline="") as text:
            try:
                while piece := text.readline(_LINE_PIECE_CHARACTERS):
                    _check_text(piece)
                    yield piece
            except UnicodeDecodeError:
                raise NotText(f"not {codec.name} text") from None


def decode(piece: bytes, codec: Codec, *, at_start: bool, at_end: bool) -> str:
    """A piece's text; a character that the piece's edges cut is left out.

    Raises:
        NotText: It is none in this encoding.
    """
    if at_start:
        piece = piece.removeprefix(codec.mark)
    elif codec.name in _MANY_BYTES:
        piece = _from_first_character(piece, codec.name)
    try:
        text = codecs.getincrementaldecoder(codec.name)().decode(piece, at_end)
    except UnicodeDecodeError:
        raise NotText(f"not {codec.name} text") from None
    _check_text(text)
    return text


def _check_text(text: str) -> None:
    if "\0" in text:
        raise NotText("not text: it holds NUL characters")


def _from_first_character(piece: bytes, encoding: str) -> bytes:
    """Skip the rest of a character that began before the piece."""
    for skipped in range(_CONTINUATION_BYTES + 1):
        try:
            codecs.getincrementaldecoder(encoding)().decode(piece[skipped : skipped + SAMPLE_BYTES])
        except UnicodeDecodeError:
            continue
        return piece[skipped:]
    return piece
