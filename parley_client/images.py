"""Images as parts of messages."""

from __future__ import annotations

from parley.inference.v1 import message_pb2

_BEGINNINGS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}


def image(data: bytes, media_type: str = "") -> message_pb2.ContentPart:
    """A picture to be shown to the model.

    Args:
        data: The file. What a deployment takes is up to it: by default 5 MiB of
            GIF, JPEG, PNG or WebP that stands still.
        media_type: What it is. Default: as the file's first bytes say.

    Raises:
        ValueError: They say nothing that is known here.
    """
    return message_pb2.ContentPart(
        image=message_pb2.Image(data=data, media_type=media_type or _media_type(data))
    )


def _media_type(data: bytes) -> str:
    for beginning, media_type in _BEGINNINGS.items():
        if data.startswith(beginning):
            return media_type
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    raise ValueError("The file is no GIF, JPEG, PNG or WebP; name its media_type if it is an image.")
