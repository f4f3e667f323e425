"""Which images may go with a question: pure."""

from __future__ import annotations

import pytest

from parley.inference.v1 import message_pb2, model_pb2
from parley_client.images import image
from tests.web.pictures.made import file, seeing
from web.answer import Answer, Pace
from web.conversation import Conversation
from web.pictures import rules
from web.pictures.picture import TRAY_BYTES, Picture, Tray, pictures_of
from web.pictures.view import attachments

RED = Picture.of(file(), "red.png")
BLIND = model_pb2.Model(name="blind", state=model_pb2.MODEL_STATE_READY)
LOADING = model_pb2.Model(name="new", state=model_pb2.MODEL_STATE_LOADING)


def asked(*pictures: Picture, stored: bool = False) -> Conversation:
    conversation = Conversation("c", stored=stored)
    conversation.ask("What is this?", Answer(Pace(0)), pictures)
    return conversation


def sized(count: int) -> Picture:
    """A file of this many bytes that begins as a picture does."""
    return Picture.of(file() + bytes(count - len(file())), f"{count}.png")


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (seeing(), ""),
        (seeing(max_images=0), "parley-demo takes no images."),
        (BLIND, "blind takes no images."),
        (LOADING, "Whether new takes images shows when it is ready."),
        (None, "There is no model to show images to."),
    ],
    ids=["seeing", "none-allowed", "blind", "loading", "no-model"],
)
def test_the_models_card_says_whether_images_can_be_added(model: model_pb2.Model | None, why: str) -> None:
    assert rules.off(model) == why


@pytest.mark.parametrize(
    ("model", "beside", "why"),
    [
        (seeing(), 2, ""),
        (seeing(max_bytes=len(RED.data)), 0, ""),
        (seeing(), 3, "red.png is one too many: a conversation may have 3."),
        (seeing(max_bytes=100), 0, f"red.png has {len(RED.data)} bytes; an image may have 100 bytes."),
        (seeing(media_types=["image/gif", "image/webp"]), 0, "red.png is no GIF or WebP."),
    ],
    ids=["fits", "just-fits", "too-many", "too-large", "format"],
)
def test_what_the_card_does_not_allow_is_told_of_the_file(
    model: model_pb2.Model, beside: int, why: str
) -> None:
    assert rules.fault(RED, [RED] * beside, model.image_limits) == why


def test_images_fit_into_one_request() -> None:
    large = sized(rules.MAX_TOLD_BYTES // 2)
    law = seeing(max_bytes=2**24).image_limits
    assert rules.fault(large, [large], law) == ""
    assert "together they may have 15 MiB" in rules.fault(large, [large, RED], law)
    told = asked(large, large)
    assert "15 MiB together" in rules.refusal(seeing(), told, [RED])
    assert rules.refusal(seeing(), asked(large, large, stored=True), [RED]) == ""


def test_a_question_is_refused_where_the_model_would_refuse_it() -> None:
    assert rules.refusal(seeing(), asked(RED, RED), [RED]) == ""
    assert "may have 3 images" in rules.refusal(seeing(), asked(RED, RED), [RED, RED])
    assert rules.refusal(BLIND, asked(), []) == ""
    assert "Remove the images, or" in rules.refusal(BLIND, asked(), [RED])
    assert "Begin a new conversation, or" in rules.refusal(BLIND, asked(RED), [])


def test_images_go_along_as_often_as_the_question_is_told() -> None:
    conversation = asked(RED)
    (message,) = conversation.request("").messages
    assert [part.WhichOneof("part") for part in message.content] == ["image", "text"]
    assert message.content[0] == image(RED.data)
    assert list(pictures_of(message)) == [Picture(RED.id, "image 1", "image/png", RED.data)]


def test_only_images_that_a_browser_may_be_given_are_shown() -> None:
    with pytest.raises(ValueError, match="no GIF"):
        Picture.of(b"<svg onload='alert(1)'/>", "x.png")
    message = message_pb2.Message(
        content=[image(b"<svg/>", "image/svg+xml"), image(RED.data, "image/svg+xml")]
    )
    assert [picture.media_type for picture in pictures_of(message)] == ["image/png"]


def test_names_are_only_names() -> None:
    assert Picture.of(RED.data, "../../etc/<b>.png").name == "<b>.png"
    assert Picture.of(RED.data, "").name == "image"
    html = attachments(seeing(), Conversation("c"), [Picture.of(RED.data, '"><script>')], ["<i>"])
    assert "<script>" not in html
    assert "<i>" not in html


def test_files_that_nobody_takes_are_let_go() -> None:
    tray, first = Tray(), sized(TRAY_BYTES // 2)
    for each in (first, sized(TRAY_BYTES // 2 - 1), RED):
        tray.put(each)
    assert tray.take(first.id) is None
    assert tray.take(RED.id) == RED
    assert tray.take(RED.id) is None


def test_sizes_are_told_for_people() -> None:
    assert [rules.size(each) for each in (3, 12_288, 5 * 2**20, 1_572_864)] == [
        "3 bytes",
        "12 KiB",
        "5 MiB",
        "1.5 MiB",
    ]
