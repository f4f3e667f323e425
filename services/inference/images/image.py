"""Pictures in messages: what they are, and what a request may bring of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal, get_args

ImageType = Literal["image/gif", "image/jpeg", "image/png", "image/webp"]
"""The media types of stills that may be allowed."""

FORMATS = {"image/gif": "GIF", "image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
"""The decoders that read them."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture in a message, told from others by what it is and where it stands.

    Attributes:
        digest: Of the file's bytes, SHA-256.
        media_type: What the file is said to be.
        at: How many characters of the message's text stand before it.
        data: The file.
    """

    digest: bytes
    media_type: str
    at: int
    data: bytes = field(repr=False, compare=False)

    @classmethod
    def of(cls, data: bytes, media_type: str, at: int = 0) -> Image:
        """The picture in a file."""
        return cls(hashlib.sha256(data).digest(), media_type, at, data)


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a request may bring.

    Attributes:
        count: Images in all of its messages.
        file_bytes: Of each file.
        pixels: Of each image.
        media_types: Those that are taken.
    """

    count: int = 8
    file_bytes: int = 5 * 2**20
    pixels: int = 2**24
    media_types: tuple[ImageType, ...] = get_args(ImageType)


def parts(text: str, images: tuple[Image, ...]) -> list[str | Image]:
    """A message's text and images in their order; no text is empty."""
    pieces: list[str | Image] = []
    begin = 0
    for image in images:
        if said := text[begin : image.at]:
            pieces.append(said)
        pieces.append(image)
        begin = image.at
    if rest := text[begin:]:
        pieces.append(rest)
    return pieces
