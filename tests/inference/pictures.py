"""Pictures as files, and a scripted engine that looks at what it is shown."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

from PIL import Image as Pillow

from parley.inference.v1 import message_pb2
from services.inference.engine.model_card import Capability
from services.inference.engine.port import Prompt
from services.inference.engine.turn import Turn
from services.inference.images.image import ImageLimits
from services.inference.images.reader import ImageReader
from tests.inference.scripted import CARD, Line, ScriptedEngine

RED, BLUE = (220, 20, 20), (20, 20, 220)
SIGHTED = replace(CARD, capabilities=frozenset(Capability))


def picture(
    colour: tuple[int, ...] = RED, size: tuple[int, int] = (8, 8), form: str = "PNG", **options: Any
) -> bytes:
    """A file with a picture of one colour."""
    file = BytesIO()
    Pillow.new("RGBA" if len(colour) == 4 else "RGB", size, colour).save(file, form, **options)
    return file.getvalue()


def moving(form: str, **options: Any) -> bytes:
    """A file with two pictures, one after the other."""
    file = BytesIO()
    first, second = Pillow.new("RGB", (8, 8), RED), Pillow.new("RGB", (8, 8), BLUE)
    first.save(file, form, save_all=True, append_images=[second], **options)
    return file.getvalue()


def giant(width: int, height: int) -> bytes:
    """The beginning of a PNG of this size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0")))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def shown(*parts: str | bytes, media_type: str = "image/png") -> message_pb2.Message:
    """A message of the user's of texts and pictures."""
    return message_pb2.Message(
        role=message_pb2.ROLE_USER,
        content=[
            message_pb2.ContentPart(text=part)
            if isinstance(part, str)
            else message_pb2.ContentPart(image={"data": part, "media_type": media_type})
            for part in parts
        ],
    )


class SightedEngine(ScriptedEngine):
    """Follows a script, and remembers the colours of the pictures of each turn."""

    def __init__(self, *turns: Sequence[Line], limits: ImageLimits | None = None) -> None:
        super().__init__(*turns, card=SIGHTED)
        self.colours: list[list[tuple[int, ...]]] = []
        self._images = ImageReader(limits or ImageLimits())

    async def render(self, turn: Turn) -> Prompt:
        async with self._images.pixels(turn.messages) as pixels:
            shown = [image for message in turn.messages for image in message.images]
            self.colours.append([pixels[image.digest].getpixel((0, 0)) for image in shown])
        return await super().render(turn)

    async def close(self) -> None:
        self._images.close()
        await super().close()
