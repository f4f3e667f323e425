"""Counts what a run uses."""

from __future__ import annotations

from dataclasses import replace

from services.inference.reading.step import TurnUsage
from services.inference.runs.events import RunUsage


class Meter:
    """Counts a run's tokens; exact at every moment, an interrupted turn's included."""

    def __init__(self, before: RunUsage | None = None) -> None:
        """Begin at nothing, or at what was used before."""
        self.total = before or RunUsage()
        self._before = self.total

    def begin(self, prompt_tokens: int) -> None:
        """A turn begins with this prompt."""
        self._before = replace(self.total, turns=self.total.turns + 1)
        self.note(TurnUsage(prompt_tokens))

    def note(self, turn: TurnUsage) -> None:
        """The current turn has used this much so far."""
        before = self._before
        self.total = RunUsage(
            before.prompt_tokens + turn.prompt_tokens,
            before.completion_tokens + turn.completion_tokens,
            before.cached_prompt_tokens + turn.cached_prompt_tokens,
            before.reasoning_tokens + turn.reasoning_tokens,
            before.turns,
            before.reused_tokens + turn.reused_tokens,
        )
