"""The question whether a call may run, above the field for the person's own."""

from __future__ import annotations

from html import escape

from web.advice import alert
from web.answer import Answer, Approval, Call
from web.catalogue_view import level_badge
from web.markup import from_json


def approvals(answer: Answer) -> str:
    """A card for each call that waits for the person; nothing where none does."""
    waiting = answer.asking if answer.running else []
    cards = "".join(_card(call, call.approval) for call in waiting if call.approval is not None)
    return f'<div class="p-approvals a-frame">{cards}</div>' if cards else ""


def _card(call: Call, approval: Approval) -> str:
    name, call_id = escape(call.name), escape(call.id, quote=True)
    return (
        f'<section class="p-approval" role="group" aria-label="Approval of {name}">'
        f'<p role="status"><strong>May <span class="p-tool-name">{name}</span> run?</strong> '
        f"{level_badge(approval.safety_level)}</p>{from_json(call.arguments or '{}')}"
        f'<p class="p-facts">needs <code>{escape(approval.permission)}</code> · '
        f"lapses at {approval.expires_at:%H:%M:%S} UTC</p>"
        f"{alert(approval.trouble) if approval.trouble is not None else ''}"
        f"{_buttons(call_id, name, approval)}</section>"
    )


def _buttons(call_id: str, name: str, approval: Approval) -> str:
    if approval.sent:
        return '<p class="p-note">Your decision is on its way.</p>'
    act = f'data-call="{call_id}"'
    return (
        f'<div class="a-buttons"><button type="button" class="a-primary" data-act="approve" {act} '
        f'aria-label="Approve {name}">Approve</button>'
        f'<button type="button" data-act="deny" {act} aria-label="Deny {name}">Deny</button></div>'
    )
