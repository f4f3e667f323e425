"""Names: how user names are compared, and what no name may hold."""

from __future__ import annotations

import unicodedata

from services.rpc.errors import FieldViolation, InvalidRequest

# Control characters, which PostgreSQL (NUL) or terminals do not take as text, and separators of lines.
UNPRINTABLE = frozenset({"Cc", "Zl", "Zp"})
# What turns the reading direction, by which a name can be made to look like another.
TURNING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


def canonical(username: str) -> str:
    """The name with case and width folded (RFC 8265, section 3.3: UsernameCaseMapped).

    Folding can open new compositions, so the name is normalised again after it.
    """
    folded = unicodedata.normalize("NFKC", username).casefold()
    return unicodedata.normalize("NFKC", folded)


def require_printable(field: str, text: str) -> None:
    """Refuse text that would not stay where it is shown.

    Args:
        field: Path of the field that holds it.
        text: What people called something.

    Raises:
        InvalidRequest: It holds a control character.
    """
    if any(unprintable(character) for character in text):
        violation = FieldViolation(field, "must not hold control characters")
        raise InvalidRequest(f"{field}: {violation.description}", violations=[violation])


def unprintable(character: str) -> bool:
    """Whether a character would not stay where it is shown."""
    return unicodedata.category(character) in UNPRINTABLE or unicodedata.bidirectional(character) in TURNING
