"""Streams as a bench asks for them, whoever answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cli.bench.load import Chunk


@dataclass(frozen=True)
class Ask:
    """A question, whose answer goes on to its last token whatever the model would say.

    Attributes:
        text: It.
        tokens: Tokens of the answer; 0 for as many as the context holds, each as it comes.
        temperature: How much is left to chance; None takes the model's own.
        choices: Answers to it.
        top_logprobs: For each token, how likely so many others were.
    """

    text: str
    tokens: int = 0
    temperature: float | None = None
    choices: int = 1
    top_logprobs: int | None = None


class Load(NamedTuple):
    """The requests that an engine has, by its own count after its last step."""

    running: int
    waiting: int


class Streams(Protocol):
    """Answers, and tells what it has to do."""

    def stream(self, ask: Ask) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """An answer as it comes; leaving the block is leaving the stream."""
        ...

    async def load(self) -> Load:
        """How much the engine has to do."""
        ...
