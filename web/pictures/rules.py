"""Which images may go with a question: what the model's card says, told before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence

from parley.inference.v1 import model_pb2
from parley_client.channel import MAX_MESSAGE_BYTES
from web.conversation import Conversation
from web.pictures.picture import Picture, total_bytes

TEXT_BYTES = 2**20
"""What a request leaves to its texts; the rest of what one message may have is for images."""

MAX_TOLD_BYTES = MAX_MESSAGE_BYTES - TEXT_BYTES


def takes_images(model: model_pb2.Model | None) -> bool:
    """Whether a model's card says so."""
    return model is not None and model.image_limits.max_images > 0


def off(model: model_pb2.Model | None) -> str:
    """Why no image can be added; empty where some can."""
    if model is None:
        return "There is no model to show images to."
    if takes_images(model):
        return ""
    if model.state != model_pb2.MODEL_STATE_READY:
        return f"Whether {model.name} takes images shows when it is ready."
    return f"{model.name} takes no images."


def fault(picture: Picture, beside: Sequence[Picture], limits: model_pb2.ImageLimits) -> str:
    """Why an image cannot go with a question; empty where it can.

    Args:
        picture: The image.
        beside: Those that go along already, with this question or in what was said before.
        limits: What the model takes.
    """
    if picture.media_type not in limits.media_types:
        return f"{picture.name} is no {formats(limits)}."
    if len(picture.data) > limits.max_bytes:
        return f"{picture.name} has {size(len(picture.data))}; an image may have {size(limits.max_bytes)}."
    if len(beside) >= limits.max_images:
        return f"{picture.name} is one too many: a conversation may have {limits.max_images}."
    if total_bytes(beside) + len(picture.data) > MAX_TOLD_BYTES:
        return f"{picture.name} is too much beside the others: together they may have {size(MAX_TOLD_BYTES)}."
    return ""


def refusal(model: model_pb2.Model | None, conversation: Conversation, added: Sequence[Picture]) -> str:
    """Why a question cannot be asked with these images, and those said before; empty where it can."""
    before = conversation.pictures
    if model is None or not (added or before):
        return ""
    instead = "Remove some, or begin a new conversation."
    if not takes_images(model):
        first = "Remove the images" if added else "Begin a new conversation"
        return f"{model.name} takes no images. {first}, or choose another model."
    if len(before) + len(added) > model.image_limits.max_images:
        return f"A conversation may have {model.image_limits.max_images} images. {instead}"
    if total_bytes(added if conversation.stored else [*before, *added]) > MAX_TOLD_BYTES:
        return f"Images may have {size(MAX_TOLD_BYTES)} together. {instead}"
    return ""


def formats(limits: model_pb2.ImageLimits) -> str:
    """The formats that are taken, for people: `GIF, JPEG or PNG`."""
    named = [each.removeprefix("image/").upper() for each in limits.media_types]
    *others, last = [each.replace("WEBP", "WebP") for each in named]
    return f"{', '.join(others)} or {last}" if others else last


def size(count: int) -> str:
    """Bytes for people: `3 bytes`, `12 KiB`, `5 MiB`, `1.5 MiB`."""
    if count < 2**10:
        return f"{count} bytes"
    if count < 2**20:
        return f"{count / 2**10:.0f} KiB"
    return f"{count / 2**20:.1f}".removesuffix(".0") + " MiB"
