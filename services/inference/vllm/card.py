"""What a model that runs in vLLM can do, and what tells it from others."""

from __future__ import annotations

from typing import Any

from services.inference.engine.fingerprint import fingerprint
from services.inference.engine.model_card import Capability, ModelCard
from services.inference.reading.parsers import Parsers
from services.inference.settings import EngineSettings
from services.inference.vllm import environment  # noqa: F401 - it stands before vLLM's own imports
from services.inference.vllm.images import takes_images

# isort: split
from vllm import __version__ as vllm_version
from vllm.v1.engine.async_llm import AsyncLLM


def model_card(
    llm: AsyncLLM, settings: EngineSettings, parsers: Parsers, defaults: dict[str, Any]
) -> ModelCard:
    """The card of a model.

    Args:
        llm: Runs it.
        settings: How it was loaded.
        parsers: What reads it.
        defaults: Its generation defaults.
    """
    config = llm.model_config
    commit = getattr(config.hf_config, "_commit_hash", None)
    # All that decides how the model answers, this release of vLLM included.
    more = (vllm_version, str(config.dtype), str(config.quantization), repr(parsers), repr(defaults))
    known = fingerprint(settings.model, commit, *more)
    sees = takes_images(llm)
    return ModelCard(
        name=settings.name,
        context_length=config.max_model_len,
        max_output_tokens=defaults.get("max_tokens"),
        supports_reasoning=bool(parsers.reasoning),
        supports_tools=bool(parsers.tools),
        fingerprint=known,
        revision=commit or known[:16],
        vocabulary_size=config.get_vocab_size(),
        capabilities=frozenset(Capability) - (set() if sees else {Capability.IMAGES}),
        image_limits=settings.images if sees else None,
    )
