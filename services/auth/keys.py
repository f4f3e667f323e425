"""API keys as their owners hold them: `parley_<prefix>_<secret>`.

The prefix is stored and shown, the secret is not. The last characters of the
secret are a checksum, so that a mistyped key costs no look-up and a scanner for
leaked secrets can be sure of a find.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field

ALPHABET = string.digits + string.ascii_letters
SCHEME = "parley"
PREFIX_CHARACTERS = 10
# 43 characters of base 62 hold 256 bits.
RANDOM_CHARACTERS = 43
CHECKSUM_CHARACTERS = 6
MAX_LENGTH = 128

SECRET_CHARACTERS = RANDOM_CHARACTERS + CHECKSUM_CHARACTERS

_FORM = re.compile(rf"{SCHEME}_([0-9A-Za-z]{{{PREFIX_CHARACTERS}}})_([0-9A-Za-z]{{{SECRET_CHARACTERS}}})")


@dataclass(frozen=True)
class PresentedKey:
    """A well-formed key, whether it exists or not.

    Attributes:
        prefix: What people tell keys apart by, `parley_<prefix>`.
        text: The whole key.
    """

    prefix: str
    text: str = field(repr=False)

    def digest(self) -> bytes:
        """What is stored of the secret.

        One round of SHA-256 is enough: 256 random bits cannot be guessed, so
        there is nothing that a slow hash would slow down.
        """
        return hashlib.sha256(self.text.encode()).digest()


def mint() -> PresentedKey:
    """A new key."""
    prefix, secret = _random(PREFIX_CHARACTERS), _random(RANDOM_CHARACTERS)
    shown = f"{SCHEME}_{prefix}"
    return PresentedKey(shown, f"{shown}_{secret}{checksum(prefix + secret)}")


def parse(text: str) -> PresentedKey | None:
    """The key in the text; None where it is none, or mistyped."""
    if len(text) > MAX_LENGTH or not (found := _FORM.fullmatch(text)):
        return None
    prefix, rest = found.groups()
    secret, ending = rest[:RANDOM_CHARACTERS], rest[RANDOM_CHARACTERS:]
    if ending != checksum(prefix + secret):
        return None
    return PresentedKey(f"{SCHEME}_{prefix}", text)


def checksum(text: str) -> str:
    """What a key ends with: CRC-32 of prefix and random part, in base 62 at its full width."""
    number = zlib.crc32(text.encode())
    digits = []
    for _ in range(CHECKSUM_CHARACTERS):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
