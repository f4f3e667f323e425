"""Encoding, decoding and hashing of text."""

from __future__ import annotations

import base64
import binascii
import hashlib
import html
import urllib.parse
from collections.abc import Callable, Mapping

from services.tools.errors import DataInvalid

Recode = Callable[[str, str], str]
"""From a text to another, for a tool."""


def _plainly(make: Callable[[str], str]) -> Recode:
    return lambda text, _tool: make(text)


def _decoder(name: str, decode: Callable[[str], bytes]) -> Recode:
    """A decoder whose bytes must be UTF-8 text."""

    def recode(text: str, tool: str) -> str:
        try:
            return decode(text).decode()
        except UnicodeDecodeError:
            raise DataInvalid(tool, name, "what it holds is no utf-8 text") from None
        except (binascii.Error, ValueError) as error:
            raise DataInvalid(tool, name, str(error)) from None

    return recode


def _from_base64(text: str) -> bytes:
    """Both alphabets, padded or not."""
    plain = "".join(text.split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)


def _hash(algorithm: str) -> Recode:
    return _plainly(lambda text: hashlib.new(algorithm, text.encode(), usedforsecurity=False).hexdigest())


RECODE: Mapping[str, Recode] = {
    "base64_encode": _plainly(lambda text: base64.b64encode(text.encode()).decode()),
    "base64_decode": _decoder("base64", _from_base64),
    "url_encode": _plainly(lambda text: urllib.parse.quote(text, safe="")),
    "url_decode": _decoder("URL encoding", urllib.parse.unquote_to_bytes),
    "hex_encode": _plainly(lambda text: text.encode().hex()),
    "hex_decode": _decoder("hex", bytes.fromhex),
    "html_encode": _plainly(html.escape),
    "html_decode": _plainly(html.unescape),
    "hash_md5": _hash("md5"),
    "hash_sha1": _hash("sha1"),
    "hash_sha256": _hash("sha256"),
    "hash_sha512": _hash("sha512"),
}
