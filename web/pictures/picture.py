"""Images of questions: a person's files, held until the conversation that they are in is let go."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePath

from parley.inference.v1 import message_pb2
from parley_client.images import image

NAME_CHARACTERS = 80
UNNAMED = "image"

TRAY_BYTES = 32 * 2**20
"""Files that a login has sent and not yet put beside a question; the oldest are let go."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image.

    Attributes:
        id: Names it within a login: a digest of the file.
        name: What the person calls the file.
        media_type: What the file's first bytes say that it is.
        data: The file.
    """

    id: str
    name: str
    media_type: str
    data: bytes = field(repr=False, compare=False)

    @classmethod
    def of(cls, data: bytes, name: str = "") -> Picture:
        """The image in a file.

        Raises:
            ValueError: The file is none that the page knows. What is said of it does not count: the page
                serves it again, and a browser must never be given anything else for an image.
        """
        shown = PurePath(name).name[:NAME_CHARACTERS] or UNNAMED
        return cls(hashlib.sha256(data).hexdigest(), shown, image(data).image.media_type, data)

    @property
    def part(self) -> message_pb2.ContentPart:
        """The image as a message carries it."""
        return image(self.data, self.media_type)


def pictures_of(message: message_pb2.Message) -> Iterator[Picture]:
    """The images of a message; what the page could not show is left out."""
    given = (part.image for part in message.content if part.HasField("image"))
    for number, each in enumerate(given, 1):
        with suppress(ValueError):
            yield Picture.of(each.data, f"{UNNAMED} {number}")


def total_bytes(pictures: Iterable[Picture]) -> int:
    """How much the files of images have."""
    return sum(len(picture.data) for picture in pictures)


class Tray:
    """Files that came from the browser and wait to be put beside a question."""

    def __init__(self) -> None:
        """Nothing came yet."""
        self._pictures: OrderedDict[str, Picture] = OrderedDict()

    def __iter__(self) -> Iterator[Picture]:
        """What waits, oldest first."""
        return iter(self._pictures.values())

    def put(self, picture: Picture) -> None:
        """Keep a file until it is taken, or newer ones need its room."""
        self._pictures[picture.id] = picture
        self._pictures.move_to_end(picture.id)
        while total_bytes(self) > TRAY_BYTES:
            self._pictures.popitem(last=False)

    def take(self, picture_id: str) -> Picture | None:
        """A file that waits, which then does so no longer."""
        return self._pictures.pop(picture_id, None)
