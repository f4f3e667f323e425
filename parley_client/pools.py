"""Which pool of models answers an alias.

An alias of a rollout may stand for models of several pools, and the edge knows none of it. The pool
that a call reaches says where the caller's variant is (VARIANT_ELSEWHERE); the call goes there, and
so do later ones.
"""

from __future__ import annotations

from parley_client.errors import ParleyError
from parley_client.stream import Detour

MODEL_KEY = "parley-model"
"""Metadata by which the edge routes without reading bodies (as AIP-4222 does)."""

VARIANT_ELSEWHERE = "VARIANT_ELSEWHERE"
MOST_DETOURS = 2
"""Of one call; a rollout may end while it is on its way."""


class Pools:
    """What is known of aliases so far."""

    def __init__(self) -> None:
        self._models: dict[str, str] = {}

    def model(self, name: str) -> str:
        """The model to route by for what a request names."""
        return self._models.get(name, name)

    def detours(self) -> Detour:
        """Tells, for one call, whether what it failed with shows another way to try."""
        left = MOST_DETOURS

        def detour(trouble: ParleyError) -> bool:
            nonlocal left
            if trouble.reason != VARIANT_ELSEWHERE or not left:
                return False
            left -= 1
            self._models[trouble.metadata.get("name", "")] = trouble.metadata.get("model", "")
            return True

        return detour
