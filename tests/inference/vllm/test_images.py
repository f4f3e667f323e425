"""The real vLLM sees, with a model that names the colour that it is shown."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
import pytest_asyncio

from services.inference.engine.model_card import Capability
from services.inference.engine.port import Engine
from services.inference.engine.turn import Message, Role, Sampling, Turn
from services.inference.images.errors import ImageUnreadable, TooManyImages
from services.inference.images.image import Image, ImageLimits
from services.inference.reading.step import ContentDelta
from tests.inference.pictures import BLUE, RED, picture
from tests.inference.tiny_vision_model import AROUND, IMAGE, IMAGE_TOKENS, make
from tests.inference.vllm.asked import REAL_ENGINE, running

pytestmark = REAL_ENGINE

GREEN = (20, 220, 20)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("vision"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(model: Path) -> AsyncIterator[Engine]:
    async with running(model, images=ImageLimits(count=3)) as engine:
        yield engine


def asks(text: str, *pictures: tuple[bytes, int]) -> Message:
    images = tuple(Image.of(data, "image/png", at) for data, at in pictures)
    return Message(Role.USER, text, images=images)


async def answer(engine: Engine, *messages: Message, request_id: str) -> str:
    prompt = await engine.render(Turn(messages, sampling=Sampling(temperature=0)))
    steps = engine.generate(prompt, max_output_tokens=8, request_id=request_id)
    async with aclosing(steps):
        deltas = [delta async for step in steps for delta in step.deltas]
    return "".join(delta.text for delta in deltas if isinstance(delta, ContentDelta)).strip()


async def test_the_card_says_that_it_sees(engine: Engine) -> None:
    assert Capability.IMAGES in engine.card.capabilities


async def test_it_sees_what_it_is_shown_whatever_runs_beside(engine: Engine) -> None:
    colours = {"red": RED, "green": GREEN, "blue": BLUE}
    asked = [
        answer(engine, asks("Which?", (picture(colour, (40, 40)), 6)), request_id=name)
        for name, colour in colours.items()
    ]
    assert await asyncio.gather(*asked) == list(colours)
    assert await answer(engine, asks("Hi"), request_id="plain") == "Show me something."


async def test_images_stand_in_the_prompt_where_they_stand_in_the_text(engine: Engine) -> None:
    asked = asks("Not this, but that.", (picture(RED), 10), (picture(BLUE), 19))
    prompt = await engine.render(Turn((asked,)))
    text = await engine.detokenize(prompt.token_ids, skip_special=False)
    first, between, last = re.split(f"(?:<fake_token_around_image>|<global-img>|{IMAGE})+", text)
    assert (first, between, last) == ("Not this, ", "but that.", "")
    before = asks("What is it?", (picture(RED), 0))
    assert await answer(engine, before, request_id="before") == "Show me something."


@pytest.mark.parametrize("shown", [0, 1])
async def test_a_mark_that_somebody_writes_stands_for_no_image(engine: Engine, shown: int) -> None:
    pictures = [(picture(RED), 3)][:shown]
    said = f"See{IMAGE} and <global-img>"
    turn = Turn((Message(Role.SYSTEM, said), asks(said, *pictures)))
    prompt = await engine.render(turn)
    text = await engine.detokenize(prompt.token_ids, skip_special=False)
    assert text.count(IMAGE) == shown * IMAGE_TOKENS
    assert text.count("< image> and < global-img>") == 2
    assert text.count("<global-img>") == shown


async def test_a_mark_before_an_image_does_not_take_its_place(engine: Engine) -> None:
    before = f"{IMAGE} Not this, that:"
    asked = asks(before, (picture(BLUE), len(before)))
    assert await answer(engine, asked, request_id="marked") == "blue"


async def test_images_count_as_the_tokens_that_they_become(engine: Engine) -> None:
    without = await engine.render(Turn((asks("Which?"),)))
    shown = await engine.render(Turn((asks("Which?", (picture(RED), 0), (picture(BLUE), 0)),)))
    assert shown.tokens == without.tokens + 2 * (IMAGE_TOKENS + AROUND)


async def test_prompts_are_told_apart_by_their_images(engine: Engine) -> None:
    red, again, blue = [
        (await engine.render(Turn((asks("Which?", (picture(colour), 6)),)))).identity
        for colour in (RED, RED, BLUE)
    ]
    assert red == again
    assert red != blue


async def test_what_cannot_be_shown_is_refused_before_the_engine(engine: Engine) -> None:
    with pytest.raises(ImageUnreadable):
        await engine.render(Turn((asks("Which?", (b"none", 0)),)))
    with pytest.raises(TooManyImages):
        await engine.render(Turn((asks("Which?", *4 * [(picture(), 0)]),)))
    assert engine.running == 0
