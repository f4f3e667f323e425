"""What makes two turns the same: whose they are, what answers, and all that was asked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from services.inference.engine.model_card import ModelCard
from services.inference.engine.port import Prompt
from services.inference.engine.turn import Sampling, Turn
from services.inference.reading.step import Step
from services.inference.runs.order import CacheMode
from services.inference.turn_cache import codec

_SHAPE = codec.shape(Step).encode()


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """One turn that is asked for.

    Attributes:
        tenant_id: For whom; nothing is shared beyond.
        card: What answers.
        prompt: The rendered prompt.
        turn: What it was rendered from, and how it is to be answered.
        max_output_tokens: Tokens that it may have.
    """

    tenant_id: str
    card: ModelCard
    prompt: Prompt
    turn: Turn
    max_output_tokens: int

    def key(self, epoch: bytes) -> str:
        """Names the turn within an epoch of the tenant's and the model's entries.

        The prompt's own identity stands beside the turn: a template may write
        the date, and an engine may know more of a picture than its placeholder.
        """
        digest = hashlib.sha256()
        parts = (
            epoch,
            self.tenant_id.encode(),
            self.card.name.encode(),
            self.card.fingerprint.encode(),
            _SHAPE,
            self.prompt.identity,
            codec.text(self.turn),
            str(self.max_output_tokens).encode(),
        )
        for part in parts:
            digest.update(len(part).to_bytes(8))
            digest.update(part)
        return digest.hexdigest()


def may_share(mode: CacheMode, sampling: Sampling, prompt: Prompt, card: ModelCard) -> bool:
    """Whether a turn may be answered by what another was answered.

    By default only where asking again would give the same; and never where
    the engine does not say what it answers from.
    """
    if mode is CacheMode.OFF or not prompt.identity or not card.fingerprint:
        return False
    return mode is CacheMode.ON or sampling.temperature == 0 or sampling.seed is not None
