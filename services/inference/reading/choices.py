"""Reads the choices of one turn: each by a reader of its own, all on one bill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from services.inference.reading.portions import RawOutput
from services.inference.reading.step import Step
from services.inference.reading.turn_reader import TurnReader


class Choices:
    """Reads the choices of a turn."""

    def __init__(self, readers: Sequence[TurnReader]) -> None:
        """Read by these readers, one for each choice."""
        self._readers = readers
        self._cached = 0
        self._reasoning = [0 for _ in readers]

    @property
    def tokens(self) -> int:
        """Tokens read so far, of all choices."""
        return sum(reader.tokens for reader in self._readers)

    def room(self, ceiling: int | None, *, one: bool) -> int | None:
        """Tokens that may be read at once; one at least, as whoever reads on has seen to it.

        With log-probabilities it is `one`, so that each token's come with its text.
        """
        if one:
            return 1
        return None if ceiling is None else max(1, ceiling - self.tokens)

    def read(
        self, index: int, output: RawOutput, cached_tokens: int, prompt_token_ids: list[int] | None
    ) -> Iterator[Step]:
        """What a choice's next output means; see `TurnReader.read`.

        Raises:
            EngineFailed: The engine gave the request up.
            OutputUnparseable: The text breaks the model's own format.
        """
        for step in self._readers[index].read(output, cached_tokens, prompt_token_ids):
            yield step if len(self._readers) == 1 else self._on_one_bill(index, step)

    def _on_one_bill(self, index: int, step: Step) -> Step:
        # Of a prompt that all share, what the others found is what the first left there.
        self._cached = step.usage.cached_prompt_tokens if index == 0 else self._cached
        self._reasoning[index] = step.usage.reasoning_tokens
        usage = replace(
            step.usage,
            completion_tokens=self.tokens,
            cached_prompt_tokens=self._cached,
            reasoning_tokens=sum(self._reasoning),
        )
        return replace(step, usage=usage)
