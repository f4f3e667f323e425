"""Cuts what a model is given of a tool's result."""

from __future__ import annotations

# What stands at the end of a cut result, with the widest figures that a message can hold.
NOTE_BYTES = 80


def cut(content: str, most_bytes: int) -> tuple[str, int]:
    """A result in no more than this many bytes of UTF-8.

    Returns:
        The result, with a last line that says what was left out if something
        was, and how many bytes that is. No character is cut in two.
    """
    whole = content.encode()
    if len(whole) <= most_bytes:
        return content, 0
    kept = whole[: most_bytes - NOTE_BYTES].decode(errors="ignore")
    omitted = len(whole) - len(kept.encode())
    return f"{kept}\n[{omitted} of {len(whole)} bytes were left out here]", omitted
