"""Reads images from strangers: nothing is decoded before its size is known, and little of it at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from io import BytesIO
from typing import Any

from PIL import Image as Pillow
from PIL import ImageFile, ImageOps

from services.inference.engine.turn import Message
from services.inference.images.errors import (
    ImageFormatRefused,
    ImagePlace,
    ImageTooLarge,
    ImageUnreadable,
    TooManyImages,
)
from services.inference.images.image import FORMATS, Image, ImageLimits

AT_ONCE = 2
"""Prompts whose images are in memory as pixels at the same time."""

# A photograph with others beside it, as telephones make them; the first is the picture.
MULTI_PICTURE = "MPO"
PAPER = (255, 255, 255, 255)

Pixels = dict[bytes, Any]
"""Pictures in RGB, by the digest of their files."""


class ImageReader:
    """Reads the images of prompts, of a few at a time, on threads of its own."""

    def __init__(self, limits: ImageLimits) -> None:
        """Read within these limits."""
        self.limits = limits
        self._places = asyncio.Semaphore(AT_ONCE)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="image")

    @asynccontextmanager
    async def pixels(self, messages: Sequence[Message]) -> AsyncIterator[Pixels]:
        """The pictures of these messages, until the block's end.

        Raises:
            TooManyImages: There are more than a request may bring.
            ImageTooLarge: One has too many bytes or pixels.
            ImageFormatRefused: One is of a format that is not taken, or moves.
            ImageUnreadable: One is none.
        """
        images = list(_placed(messages))
        if not images:
            yield {}
            return
        self._check_files(images)
        async with self._places:
            loop = asyncio.get_running_loop()
            yield {
                image.digest: await loop.run_in_executor(self._threads, read, image, place, self.limits)
                for place, image in images
            }

    def _check_files(self, images: Sequence[tuple[ImagePlace, Image]]) -> None:
        """Refuse what can be refused without a look into the files."""
        if len(images) > self.limits.count:
            raise TooManyImages(len(images), self.limits.count)
        for place, image in images:
            if len(image.data) > self.limits.file_bytes:
                raise ImageTooLarge(place, "bytes", len(image.data), self.limits.file_bytes)
            if image.media_type not in self.limits.media_types:
                fault = f"{image.media_type} is not taken"
                raise ImageFormatRefused(place, fault, self.limits.media_types)

    def close(self) -> None:
        """Read no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def read(image: Image, place: ImagePlace, limits: ImageLimits) -> Pillow.Image:
    """A picture in RGB, upright, and on white where it is transparent.

    Raises:
        ImageTooLarge: It has too many pixels.
        ImageFormatRefused: It is not what it is said to be, or moves.
        ImageUnreadable: The file is no image, or a part of one.
    """
    decoders = [FORMATS[each] for each in limits.media_types]
    with _decoding(place, limits):
        file = Pillow.open(BytesIO(image.data), formats=decoders)
    with file:
        _check(file, image, place, limits)
        with _decoding(place, limits):
            file.load()
            return _on_paper(ImageOps.exif_transpose(file))


def _check(file: ImageFile.ImageFile, image: Image, place: ImagePlace, limits: ImageLimits) -> None:
    """Refuse by what stands in the file's head, before its pixels take memory."""
    width, height = file.size
    if width * height > limits.pixels:
        raise ImageTooLarge(place, "pixels", width * height, limits.pixels)
    found = "JPEG" if file.format == MULTI_PICTURE else file.format
    if found != FORMATS[image.media_type]:
        fault = f"it is said to be {image.media_type} and is {file.get_format_mimetype()}"
        raise ImageFormatRefused(place, fault, limits.media_types)
    with _decoding(place, limits):
        moves = file.format != MULTI_PICTURE and getattr(file, "is_animated", False)
    if moves:
        raise ImageFormatRefused(place, "it is animated", limits.media_types)


@contextmanager
def _decoding(place: ImagePlace, limits: ImageLimits) -> Iterator[None]:
    """A decoder at work on a stranger's file.

    Raises:
        ImageTooLarge: It has more pixels than any may have: Pillow's own limit, which lies above ours.
        ImageUnreadable: The decoder cannot read it.
    """
    try:
        yield
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as bomb:
        raise ImageTooLarge(place, "pixels", Pillow.MAX_IMAGE_PIXELS or 0, limits.pixels) from bomb
    except Exception as error:
        # What decoders raise at broken files is no closed set: struct.error, IndexError, zlib.error and more.
        raise ImageUnreadable(place) from error


def _on_paper(picture: Pillow.Image) -> Pillow.Image:
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    paper = Pillow.new("RGBA", picture.size, PAPER)
    paper.alpha_composite(picture.convert("RGBA"))
    return paper.convert("RGB")


def _placed(messages: Sequence[Message]) -> Iterator[tuple[ImagePlace, Image]]:
    for at, message in enumerate(messages):
        for number, image in enumerate(message.images):
            yield ImagePlace(at, number), image
