"""What vLLM is told of images, and what it says of them."""

from __future__ import annotations

from typing import Any

from services.inference.images.image import ImageLimits
from services.inference.images.marks import marks_among, tokens_of
from services.inference.vllm import environment  # noqa: F401 - it stands before vLLM's own imports

# isort: split
from vllm.model_executor.model_loader import get_model_cls
from vllm.v1.engine.async_llm import AsyncLLM

# vLLM keeps processed images in this process and in the engine's, and takes both for alike. An image that is
# only counted is in one of them: the next request that shows it kills the engine (seen with 0.32).
CACHE_GIB = 0


def image_arguments(limits: ImageLimits) -> dict[str, Any]:
    """Arguments of an engine that takes so many images, if its model can, and nothing else beside text."""
    return {
        "limit_mm_per_prompt": {"image": limits.count, "video": 0, "audio": 0},
        "mm_processor_cache_gb": CACHE_GIB,
    }


def takes_images(llm: AsyncLLM) -> bool:
    """Whether the model takes images, and may."""
    processor: Any = llm.renderer.mm_processor
    return processor is not None and processor.info.allowed_mm_limits.get("image", 0) > 0


def image_marks(llm: AsyncLLM) -> frozenset[str]:
    """The texts by which the model's prompts show images; none where it takes none."""
    if not takes_images(llm):
        return frozenset()
    config, tokenizer = llm.model_config, llm.get_tokenizer()
    processor: Any = llm.renderer.mm_processor
    most = processor.info.allowed_mm_limits["image"]
    model: Any = get_model_cls(config)
    placeholders = {model.get_placeholder_str("image", number + 1) for number in range(most)}
    tokens = tokenizer.convert_ids_to_tokens(sorted(tokens_of(config.hf_config.to_dict())))
    marks = {*placeholders, *tokens, *marks_among(tokenizer.get_added_vocab())}
    return frozenset(mark for mark in marks if mark)
