"""Which fields of OpenAI's requests are served, and which are passed over or refused.

A field that would change the answer, and is not served, is refused: an answer to
something else than was asked is worse than none. vLLM's own extensions are
among them unless they stand here: some would let a caller bring a chat template.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.inference.errors import ParameterUnsupported

EXTENSION = "parley"

# What these say is OpenAI's own business: who the end user is, how it bills, stores and caches.
PASSED_OVER = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    }
)


@dataclass(frozen=True)
class Served:
    """What one method serves.

    Attributes:
        fields: The fields that it reads.
        only: Values of fields that change nothing; others are refused.
    """

    fields: frozenset[str]
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def of(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a body that are to be read. A null stands for a field that is not there.

        Raises:
            ParameterUnsupported: It asks for what is not served.
        """
        return {name: value for name, value in body.items() if self._is_read(name, value)}

    def _is_read(self, name: str, value: Any) -> bool:
        if value is None or name in PASSED_OVER:
            return False
        if name in self.fields:
            return True
        if any(type(value) is type(harmless) and value == harmless for harmless in self.only.get(name, ())):
            return False
        raise ParameterUnsupported(name)


CHAT_COMPLETION = Served(
    fields=frozenset(
        {
            EXTENSION,
            "include_reasoning",
            "max_completion_tokens",
            "max_tokens",
            "messages",
            "min_p",
            "model",
            "reasoning_effort",
            "seed",
            "stop",
            "stream",
            "stream_options",
            "temperature",
            "tool_choice",
            "tools",
            "top_k",
            "top_p",
        }
    ),
    only={
        "frequency_penalty": (0, 0.0),
        "logit_bias": ({},),
        "logprobs": (False,),
        "modalities": (["text"],),
        "n": (1,),
        "parallel_tool_calls": (True,),
        "presence_penalty": (0, 0.0),
        "response_format": ({"type": "text"},),
        "top_logprobs": (0,),
        "verbosity": ("medium",),
    },
)
