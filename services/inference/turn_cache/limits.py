"""How much is kept, and for how long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """How much is kept, and for how long.

    Attributes:
        seconds: Life of an entry.
        entry_bytes: A larger turn, compressed, is not kept.
        tenant_bytes: What a tenant may add within `seconds`.
    """

    seconds: float = 3600.0
    entry_bytes: int = 256 * 2**10
    tenant_bytes: int = 32 * 2**20
