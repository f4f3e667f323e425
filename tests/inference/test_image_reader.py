"""What is read of strangers' files, and what is refused before it takes memory."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import Any

import pytest
from PIL import Image as Pillow

from services.inference.engine.turn import Message, Role
from services.inference.images.errors import (
    ImageFormatRefused,
    ImagePlace,
    ImageTooLarge,
    ImageUnreadable,
    TooManyImages,
)
from services.inference.images.image import FORMATS, Image, ImageLimits, parts
from services.inference.images.reader import AT_ONCE, ImageReader, read
from tests.inference.pictures import BLUE, RED, giant, moving, picture

PLACE = ImagePlace(2, 1)
LIMITS = ImageLimits()
STILLS = [(media_type, form) for media_type, form in FORMATS.items()]


def pixel(data: bytes, media_type: str = "image/png", at: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
    seen = read(Image.of(data, media_type), PLACE, LIMITS)
    assert seen.mode == "RGB"
    colour: Any = seen.getpixel(at)
    return tuple(colour)


def ask(*files: bytes) -> list[Message]:
    return [Message(Role.USER, "", images=(Image.of(data, "image/png"),)) for data in files]


@pytest.mark.parametrize(("media_type", "form"), STILLS)
def test_stills_of_every_format_are_read(media_type: str, form: str) -> None:
    colour = pixel(picture(BLUE, form=form), media_type)
    assert max(abs(one - other) for one, other in zip(colour, BLUE, strict=True)) < 12


def test_what_is_transparent_lies_on_white() -> None:
    assert pixel(picture((0, 0, 0, 0))) == (255, 255, 255)
    file = BytesIO()
    Pillow.new("L", (4, 4), 7).save(file, "PNG", transparency=7)
    assert pixel(file.getvalue()) == (255, 255, 255)


def test_photographs_stand_upright_and_other_kinds_of_pixels_are_taken() -> None:
    turned = Pillow.new("RGB", (2, 1), RED)
    turned.putpixel((1, 0), BLUE)
    exif = Pillow.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    file = BytesIO()
    turned.save(file, "PNG", exif=exif)
    assert pixel(file.getvalue(), at=(0, 1)) == BLUE
    for mode in ("1", "L", "LA", "P", "I;16"):
        file = BytesIO()
        Pillow.new(mode, (2, 2)).save(file, "PNG")
        assert len(pixel(file.getvalue())) == 3


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"no image at all", "image/png"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/png"),
        (picture(size=(64, 64))[:-40], "image/png"),
        (picture(size=(64, 64), form="JPEG")[:-200], "image/jpeg"),
        (picture(size=(64, 64), form="WEBP")[:40], "image/webp"),
        (picture(size=(64, 64), form="GIF")[:14], "image/gif"),
        (picture().replace(b"IDAT", b"IDOT"), "image/png"),
        (picture(form="TIFF"), "image/png"),
        (giant(64, 64), "image/png"),
    ],
    ids=[
        *("text", "svg", "cut png", "cut jpeg", "cut webp", "cut gif", "no pixels", "tiff", "too few pixels"),
    ],
)
def test_what_is_no_image_is_unreadable(data: bytes, media_type: str) -> None:
    with pytest.raises(ImageUnreadable) as refused:
        read(Image.of(data, media_type), PLACE, LIMITS)
    assert refused.value.metadata == {"message": "2", "image": "1"}


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_what_moves_is_refused(form: str) -> None:
    with pytest.raises(ImageFormatRefused, match="it is animated"):
        read(Image.of(moving(form), f"image/{form.lower()}"), PLACE, LIMITS)


def test_a_photograph_with_others_beside_it_is_its_first() -> None:
    colour = pixel(moving("MPO", quality=95), "image/jpeg")
    assert max(abs(one - other) for one, other in zip(colour, RED, strict=True)) < 12


def test_what_is_another_than_it_is_said_to_be_is_refused() -> None:
    with pytest.raises(ImageFormatRefused, match="said to be image/png and is image/jpeg") as refused:
        read(Image.of(picture(form="JPEG"), "image/png"), PLACE, LIMITS)
    assert refused.value.metadata["formats"] == ",".join(sorted(FORMATS))


@pytest.mark.parametrize("side", [4097, 9500, 13_500, 60_000, 2**31 - 1])
def test_a_giant_is_refused_by_its_head_alone(side: int) -> None:
    """Those beyond Pillow's own limits, too, of which it warns first and then raises."""
    with pytest.raises(ImageTooLarge) as refused:
        read(Image.of(giant(side, side), "image/png"), PLACE, LIMITS)
    assert (refused.value.metadata["unit"], refused.value.metadata["limit"]) == ("pixels", str(2**24))


async def test_a_prompt_brings_as_many_and_as_large_files_as_it_may() -> None:
    small = picture()
    reader = ImageReader(ImageLimits(count=2, file_bytes=len(small), media_types=("image/png",)))
    async with reader.pixels(ask(small, small)) as pixels:
        assert len(pixels) == 1
    with pytest.raises(TooManyImages) as many:
        await reader.pixels(ask(small, small, small)).__aenter__()
    assert many.value.metadata == {"images": "3", "limit": "2"}
    with pytest.raises(ImageTooLarge) as large:
        await reader.pixels(ask(small, small + b"x")).__aenter__()
    assert (large.value.metadata["message"], large.value.metadata["unit"]) == ("1", "bytes")
    photograph = Message(Role.USER, "", images=(Image.of(small, "image/jpeg"),))
    with pytest.raises(ImageFormatRefused, match="image/jpeg is not taken"):
        await reader.pixels([photograph]).__aenter__()
    reader.close()


async def test_few_prompts_have_pixels_in_memory_at_once() -> None:
    reader = ImageReader(LIMITS)
    inside = [reader.pixels(ask(picture())) for _ in range(AT_ONCE)]
    for each in inside:
        await each.__aenter__()
    following = asyncio.create_task(reader.pixels(ask(picture())).__aenter__())
    async with reader.pixels([Message(Role.USER, "Hi")]) as none:
        assert none == {}
    assert not following.done()
    await inside[0].__aexit__(None, None, None)
    assert len(await following) == 1
    reader.close()


def test_parts_come_in_their_order() -> None:
    images = tuple(Image.of(picture(), "image/png", at) for at in (0, 3, 3, 5))
    assert parts("onetw", images) == [images[0], "one", images[1], images[2], "tw", images[3]]
    assert parts("", ()) == []
    assert parts("one", ()) == ["one"]
