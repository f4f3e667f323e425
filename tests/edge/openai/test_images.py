"""Images as the official client sends them, through the real edge."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError

from tests.edge.openai.conftest import LARGE, MARKS, MODEL, Surface
from tests.inference.pictures import BLUE, RED, giant, moving, picture
from tests.inference.scripted import says

pytestmark = MARKS


def data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def part(url: str, **more: Any) -> Any:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def asked(*parts: Any) -> Any:
    return [{"role": "user", "content": list(parts)}]


async def test_chat_completions_show_images(surface: Surface, client: AsyncOpenAI) -> None:
    engine = surface.script(says("Red and blue."))
    photograph = data_url(picture(BLUE, form="JPEG", quality=95), "image/jpg")
    shown = asked(
        {"type": "text", "text": "What is "},
        part(data_url(picture(RED)), detail="high"),
        {"type": "text", "text": " this?"},
        part(photograph),
    )
    answer = await client.chat.completions.create(model=MODEL, messages=shown)
    assert answer.choices[0].message.content == "Red and blue."
    [(red, blue)] = engine.colours
    assert red == RED
    assert max(abs(one - other) for one, other in zip(blue, BLUE, strict=True)) < 12
    [message] = engine.rendered[0].messages
    assert (message.content, [image.at for image in message.images]) == ("What is  this?", [8, 14])


async def test_responses_show_images(surface: Surface, client: AsyncOpenAI) -> None:
    engine = surface.script(says("Red."))
    shown: Any = asked(
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": data_url(picture(RED))},
    )
    answer = await client.responses.create(model=MODEL, input=shown)
    assert answer.output_text == "Red."
    assert engine.colours == [[RED]]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/a.png", "https://example.com/a.png", "file:///etc/passwd", "a.png"]
)
async def test_addresses_are_not_fetched(surface: Surface, client: AsyncOpenAI, url: str) -> None:
    surface.script()
    with pytest.raises(BadRequestError, match="not fetched") as chatted:
        await client.chat.completions.create(model=MODEL, messages=asked(part(url)))
    assert (chatted.value.code, chatted.value.param) == (
        "invalid_image_url",
        "messages[0].content[0].image_url",
    )
    shown: Any = asked({"type": "input_image", "image_url": url})
    with pytest.raises(BadRequestError, match="not fetched") as responded:
        await client.responses.create(model=MODEL, input=shown)
    assert (responded.value.code, responded.value.param) == (
        "invalid_image_url",
        "input[0].content[0].image_url",
    )
    assert surface.engine.rendered == []


@pytest.mark.parametrize(
    ("shown", "parameter", "code"),
    [
        (part("data:image/png,raw"), "messages[0].content[0].image_url", "invalid_value"),
        (part("data:text/html;base64,aGk="), "messages[0].content[0].image_url", "invalid_value"),
        (part("data:image/png;base64,a*b="), "messages[0].content[0].image_url", "invalid_value"),
        (
            part(data_url(picture()), detail="low"),
            "messages[0].content[0].image_url.detail",
            "unsupported_parameter",
        ),
        (part("data:image/png;base64,"), "messages[0].content[0].image.data", "invalid_value"),
        (part(data_url(b"no image")), "messages", "image_parse_error"),
        (part(data_url(moving("GIF"), "image/gif")), "messages", "unsupported_image_media_type"),
        (part(data_url(b"<svg/>", "image/svg+xml")), "messages", "unsupported_image_media_type"),
        (part(data_url(giant(4100, 4100))), "messages", "image_too_large"),
    ],
)
async def test_what_is_no_image_is_named(surface: Surface, shown: Any, parameter: str, code: str) -> None:
    surface.script()
    body = {"model": MODEL, "messages": asked(shown)}
    answer = await surface.post("/v1/chat/completions", json.dumps(body))
    assert answer.status_code == 400, answer.text
    told = answer.json()["error"]
    assert (told["param"], told["code"]) == (parameter, code), told
    assert surface.engine.rendered == []


async def test_only_users_show_images_and_only_to_models_that_see(
    surface: Surface, client: AsyncOpenAI
) -> None:
    shown = asked(part(data_url(picture())))
    with pytest.raises(BadRequestError) as blind:
        await client.chat.completions.create(model=LARGE, messages=shown)
    assert blind.value.code == "model_lacks"
    shown[0]["role"] = "system"
    with pytest.raises(BadRequestError, match="images belong to ROLE_USER alone"):
        await client.chat.completions.create(model=MODEL, messages=shown)


async def test_a_file_that_openai_has_is_not_here(surface: Surface, client: AsyncOpenAI) -> None:
    shown: Any = asked({"type": "input_image", "file_id": "file-1", "detail": "auto"})
    with pytest.raises(BadRequestError) as refused:
        await client.responses.create(model=MODEL, input=shown)
    assert refused.value.code == "unsupported_parameter"
