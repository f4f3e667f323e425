"""What a model can do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from services.inference.images.image import ImageLimits


class Capability(Enum):
    """What a model can do; the names are those of the contract, without their prefix."""

    CHAT = auto()
    COMPLETE = auto()
    STRUCTURED_OUTPUT = auto()
    LOGPROBS = auto()
    IMAGES = auto()


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model can do.

    Attributes:
        name: The name by which requests ask for it.
        context_length: Tokens of prompt and answer together.
        max_output_tokens: Tokens of a turn where the request sets no limit;
            None allows what the context has left.
        supports_reasoning: Whether it reasons before it answers.
        supports_tools: Whether it can call tools.
        fingerprint: Digest of what decides how it answers: weights, template,
            parsers, number type, the engine's release. Empty where that is not
            known, and then its answers are not shared.
        vocabulary_size: How many tokens it knows; their ids are below this.
        revision: Which weights it has.
        capabilities: What else it can do.
        embedding_dimensions: Numbers of its embeddings; 0 for a model that chats.
        image_limits: What requests may bring of images; None where it takes none.
    """

    name: str
    context_length: int
    max_output_tokens: int | None = None
    supports_reasoning: bool = False
    supports_tools: bool = False
    fingerprint: str = ""
    vocabulary_size: int = 0
    revision: str = ""
    capabilities: frozenset[Capability] = frozenset()
    embedding_dimensions: int = 0
    image_limits: ImageLimits | None = None

    @property
    def supports_embeddings(self) -> bool:
        """Whether it embeds; such a model cannot chat."""
        return self.embedding_dimensions > 0
