"""The port to an engine that loads LoRA adapters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter as an engine loads it.

    Attributes:
        model: The name by which requests ask for it.
        revision: Fingerprint of its files.
        number: Names it in the engine, from 1; each is used once.
        folder: Where its files lie.
    """

    model: str
    revision: str
    number: int
    folder: Path


class AdapterHost(Protocol):
    """What loads adapters of one model."""

    @property
    def most_adapters(self) -> int:
        """How many it holds at once."""
        ...

    @property
    def most_rank(self) -> int:
        """The highest rank that one may have."""
        ...

    async def add(self, adapter: Adapter) -> None:
        """Load an adapter, so that prompts which name it can be answered.

        Raises:
            AdapterInvalid: It cannot be loaded; then nothing of it is left.
            EngineFailed: The engine is dead.
        """
        ...

    async def remove(self, adapter: Adapter) -> None:
        """Forget an adapter that no request uses.

        Raises:
            EngineFailed: The engine is dead.
        """
        ...
