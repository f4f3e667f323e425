"""The port to a pooling model: texts in, vectors out. Such a model cannot chat, so it is no `Engine`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from services.inference.engine.model_card import ModelCard


@dataclass(frozen=True, slots=True)
class Text:
    """A text as tokens.

    Attributes:
        tokens: How many tokens it has.
        truncated: Whether its end was left out.
        native: What the embedder that made it needs.
    """

    tokens: int
    truncated: bool = False
    native: object = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Form:
    """How embeddings are wanted.

    Attributes:
        dimensions: Numbers of each; None for all that the model has.
        normalize: Whether they are scaled to length 1.
    """

    dimensions: int | None = None
    normalize: bool = True


@runtime_checkable
class Embedder(Protocol):
    """A running pooling model."""

    @property
    def card(self) -> ModelCard:
        """What the model can do."""
        ...

    @property
    def running(self) -> int:
        """Texts that wait for or hold a slot."""
        ...

    async def read(self, text: str, *, cut: bool) -> Text:
        """Make tokens of a text.

        Args:
            text: The text.
            cut: Whether what does not fit the context is left out.

        Raises:
            ContextOverflow: It does not fit, and is not to be cut.
            EngineFailed: The engine is dead.
        """
        ...

    def read_tokens(self, token_ids: Sequence[int], *, cut: bool) -> Text:
        """Take tokens of the vocabulary for a text, as they are.

        Args:
            token_ids: The tokens.
            cut: Whether what does not fit the context is left out.

        Raises:
            ContextOverflow: They do not fit, and are not to be cut.
        """
        ...

    async def embed(self, text: Text, form: Form, request_id: str) -> Sequence[float]:
        """The embedding of a text that `read` made. Cancelling frees the slot at once.

        Args:
            text: The text.
            form: How it is wanted.
            request_id: Names the request in the engine; each is used once.

        Raises:
            DimensionsNotOffered: The model has no embeddings of this size.
            EngineFailed: The engine stopped or gave the request up.
        """
        ...

    async def failed(self) -> None:
        """Return when the engine has died, and not before."""
        ...

    async def close(self) -> None:
        """End the engine and its processes."""
        ...
