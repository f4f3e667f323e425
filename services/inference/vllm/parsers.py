"""vLLM's renderer of a model's prompts, and the parsers of what it says."""

from __future__ import annotations

from services.inference.reading.parsers import Parsers, choose
from services.inference.settings import EngineSettings
from services.inference.vllm import environment  # noqa: F401 - it stands before vLLM's own imports

# isort: split
from vllm.config import ModelConfig
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.tokenizers import cached_tokenizer_from_config
from vllm.v1.engine.async_llm import AsyncLLM


def model_parsers(config: ModelConfig, settings: EngineSettings) -> Parsers:
    """The parsers that the settings name, or the model's family suggests."""
    template = getattr(cached_tokenizer_from_config(config), "chat_template", None)
    return choose(
        config.hf_config.model_type,
        template if isinstance(template, str) else "",
        tools=settings.tool_parser,
        reasoning=settings.reasoning_parser,
    )


def online_renderer(llm: AsyncLLM, parsers: Parsers) -> OnlineRenderer:
    """What renders a model's prompts.

    Raises:
        TypeError, ValueError, KeyError: The parsers do not fit the model.
    """
    return OnlineRenderer(
        llm.model_config,
        llm.renderer,
        request_logger=None,
        chat_template=None,
        chat_template_content_format="auto",
        enable_auto_tools=bool(parsers.tools),
        tool_parser=parsers.tools or None,
        reasoning_parser=parsers.reasoning or None,
    )
