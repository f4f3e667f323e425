"""Cuts what a model is given of a tool's result."""

from __future__ import annotations

from services.inference.shortening import shortened

# What stands at the end of a cut result, with the widest figures that a message can hold.
NOTE_BYTES = 80


def cut(content: str, most_bytes: int) -> tuple[str, int]:
    """A result in no more than this many bytes of UTF-8.

    Returns:
        The result and by how many bytes it is shorter. JSON stays JSON, in which
        each part that lost its end says so; any other text says it in a last
        line. No character is cut in two.
    """
    whole = content.encode()
    if len(whole) <= most_bytes:
        return content, 0
    if (fitting := shortened(content, most_bytes)) is not None:
        return fitting, len(whole) - len(fitting.encode())
    kept = whole[: most_bytes - NOTE_BYTES].decode(errors="ignore")
    omitted = len(whole) - len(kept.encode())
    return f"{kept}\n[{omitted} of {len(whole)} bytes were left out here]", omitted
