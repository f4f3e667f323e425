"""Puts deltas together: what several say, one says as well."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from services.inference.reading.step import ContentDelta, Delta, ReasoningDelta, ToolCallDelta


def join(before: Delta, after: Delta) -> Delta | None:
    """One delta that says what both say, log-probabilities included; None where none can."""
    match before, after:
        case ReasoningDelta(said, choice, told), ReasoningDelta(text, same, logprobs) if choice == same:
            return ReasoningDelta(said + text, choice, told + logprobs)
        case ContentDelta(said, choice, told), ContentDelta(text, same, logprobs) if choice == same:
            return ContentDelta(said + text, choice, told + logprobs)
        case ToolCallDelta(), ToolCallDelta(index, "", "", more) if before.index == index:
            return replace(before, arguments=before.arguments + more)
    return None


def joined(deltas: Iterable[Delta]) -> list[Delta]:
    """The same deltas of a choice, with neighbours of one kind made one."""
    made: list[Delta] = []
    for delta in deltas:
        both = join(made[-1], delta) if made else None
        if both is None:
            made.append(delta)
        else:
            made[-1] = both
    return made
