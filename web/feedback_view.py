"""What the person thinks of an answer that a variant of a rollout gave."""

from __future__ import annotations

from html import escape

from parley_client.errors import ParleyError
from web.advice import alert
from web.answer import Answer

_SAID = {True: "You found this answer good.", False: "You found this answer bad."}


def feedback(answer: Answer | None, trouble: ParleyError | None = None) -> str:
    """Thumbs for an answer that is over; nothing where no variant is tried.

    Args:
        answer: The newest of the conversation, if there is one.
        trouble: Why the last word was not taken.
    """
    if answer is None or answer.running or not answer.variant or not answer.parts:
        return ""
    said = f'<span role="status">{_SAID[answer.is_good]}</span>' if answer.is_good is not None else ""
    return (
        f'<div class="p-approvals p-feedback a-frame" role="group" aria-label="Was this answer good?">'
        f"{alert(trouble) if trouble is not None else ''}"
        f'<div class="a-buttons">{_button(answer, "up", "Good answer", good=True)}'
        f"{_button(answer, 'down', 'Bad answer', good=False)}{said}</div></div>"
    )


def _button(answer: Answer, act: str, words: str, *, good: bool) -> str:
    pressed = "true" if answer.is_good is good else "false"
    sign = "\N{THUMBS UP SIGN}" if good else "\N{THUMBS DOWN SIGN}"
    return (
        f'<button type="button" data-act="{act}" data-run="{escape(answer.run_id, quote=True)}" '
        f'aria-pressed="{pressed}" aria-label="{words}">{sign}</button>'
    )
