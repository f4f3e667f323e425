import pytest

from parley.inference.v1 import message_pb2
from parley_client.client import user_message
from parley_client.images import image


@pytest.mark.parametrize(
    ("beginning", "media_type"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
    ],
)
def test_a_file_tells_what_it_is(beginning: bytes, media_type: str) -> None:
    assert image(beginning + b"more").image.media_type == media_type


def test_what_is_not_known_must_be_named() -> None:
    with pytest.raises(ValueError, match="no GIF, JPEG, PNG or WebP"):
        image(b"RIFF\x24\0\0\0WAVEfmt ")
    assert image(b"RIFF", "image/avif").image.media_type == "image/avif"


def test_a_question_stands_after_its_images() -> None:
    shown = image(b"GIF89a")
    message = user_message("What is this?", shown)
    assert list(message.content) == [shown, message_pb2.ContentPart(text="What is this?")]
