"""Images as people see them: above the field for the question, and in what was asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from parley.inference.v1 import model_pb2
from web.conversation import Conversation
from web.pictures import rules
from web.pictures.picture import Picture


def attachments(
    model: model_pb2.Model | None,
    conversation: Conversation,
    added: Sequence[Picture],
    faults: Sequence[str] = (),
    *,
    focus: bool = False,
) -> str:
    """What goes with the next question, how to add to it, and why not.

    The page's script chooses, judges and sends files by what the `data-` attributes say.

    Args:
        model: The model that will be asked.
        conversation: Where the question will be asked.
        added: Images that go with the question.
        faults: What is wrong with files that were not added.
        focus: Whether the button that chooses files takes the focus, as what had it is gone.
    """
    why = rules.off(model)
    told = list(filter(None, [*faults, rules.refusal(model, conversation, added)]))
    return (
        f'<div class="i-images a-frame" {_law(model, why)}>'
        f"{_alert(told)}{_list(added)}{_line(model, why, focus)}</div>"
    )


def _alert(told: Sequence[str]) -> str:
    lines = "".join(f"<p>{escape(each)}</p>" for each in told)
    return f'<div class="p-alert" role="alert">{lines}</div>' if lines else ""


def _law(model: model_pb2.Model | None, why: str) -> str:
    """What the script needs to know: the limits, or why there are none."""
    if why or model is None:
        return f'data-off="{escape(why, quote=True)}"'
    limits, types = model.image_limits, escape(",".join(model.image_limits.media_types), quote=True)
    return (
        f'data-types="{types}" data-formats="{escape(rules.formats(limits), quote=True)}" '
        f'data-bytes="{limits.max_bytes}" data-pixels="{limits.max_pixels}"'
    )


def _list(added: Sequence[Picture]) -> str:
    items = "".join(
        f'<li>{_img(picture, "i-thumb")}<span class="i-name">{escape(picture.name)}</span>'
        f'<span class="i-size">{rules.size(len(picture.data))}</span>'
        f'<button type="button" class="i-remove" data-act="remove" data-id="{picture.id}" '
        f'aria-label="Remove {escape(picture.name, quote=True)}">\N{MULTIPLICATION SIGN}</button></li>'
        for picture in added
    )
    return f'<ul class="i-list" aria-label="Images to be sent">{items}</ul>' if items else ""


def _line(model: model_pb2.Model | None, why: str, focus: bool) -> str:
    """The button that chooses files, beside what may be chosen or why nothing may."""
    if why or model is None:
        return (
            '<div class="i-line"><button type="button" class="i-add" disabled>Add images</button>'
            f"<span>{escape(why)}</span></div>"
        )
    limits = model.image_limits
    law = (
        f"{rules.formats(limits)}, {limits.max_images} at most, {rules.size(limits.max_bytes)} "
        f"and {round(limits.max_pixels / 1e6, 1):g} megapixels each. Paste or drop them, too."
    )
    return (
        '<div class="i-line"><button type="button" class="i-add" id="i-add" aria-describedby="i-law"'
        f"{' autofocus' if focus else ''}>Add images</button>"
        f'<span id="i-law">{law}</span></div>'
    )


def question_pictures(pictures: Iterable[Picture]) -> str:
    """The images of a question that was asked."""
    shown = "".join(_img(picture, "p-picture") for picture in pictures)
    return f'<div class="p-pictures">{shown}</div>' if shown else ""


def _img(picture: Picture, kind: str) -> str:
    return f'<img class="{kind}" src="images/{picture.id}" alt="{escape(picture.name, quote=True)}">'
