"""A card: what one call of a tool was asked, how far it is, and what it said."""

from __future__ import annotations

from enum import StrEnum
from html import escape

from parley_client.errors import ParleyError
from web.advice import alert
from web.markup import from_json


class CallState(StrEnum):
    """How far a call is. The value is what people read."""

    WRITING = "preparing"
    QUEUED = "queued"
    ASKING = "waiting for approval"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    DENIED = "denied"
    STOPPED = "stopped"

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self in _ENDS


_ENDS = frozenset({CallState.DONE, CallState.FAILED, CallState.DENIED, CallState.STOPPED})


def card(name: str, state: CallState, took_seconds: float | None, *inside: str) -> str:
    """Name and state on top, the rest beneath, to be folded away."""
    time = f'<span class="p-time">{seconds(took_seconds)}</span>' if took_seconds is not None else ""
    return (
        f'<details class="p-tool p-{state.name.lower()}" open><summary>'
        f'<span class="p-tool-name">{escape(name) or "tool"}</span>'
        f'<span class="p-state">{state}</span>{time}</summary>{"".join(inside)}</details>'
    )


def section(title: str, html: str) -> str:
    """A part of a card."""
    return f'<div class="p-section"><div class="p-label">{title}</div>{html}</div>'


def progress(state: CallState, fraction: float | None, message: str) -> str:
    """How far a running call is; nothing unless it runs."""
    if state is not CallState.RUNNING:
        return ""
    share = "" if fraction is None else f' value="{min(max(fraction, 0.0), 1.0):.3f}"'
    text = f"<span>{escape(message)}</span>" if message else ""
    return f'<div class="p-progress"><progress max="1"{share} aria-label="Progress"></progress>{text}</div>'


def outcome(result: str | None, error: ParleyError | None) -> str:
    """What came of a call."""
    if error is not None:
        return section("Error", alert(error))
    return "" if result is None else section("Result", from_json(result))


def seconds(value: float) -> str:
    """A time for people: `12 ms`, `1.4 s`, `2 min 5 s`."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"
