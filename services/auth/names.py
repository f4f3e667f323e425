"""User names as they are compared."""

from __future__ import annotations

import unicodedata


def canonical(username: str) -> str:
    """The name with case and width folded (RFC 8265, section 3.3: UsernameCaseMapped).

    Folding can open new compositions, so the name is normalised again after it.
    """
    folded = unicodedata.normalize("NFKC", username).casefold()
    return unicodedata.normalize("NFKC", folded)
