"""Which fields of OpenAI's requests are served, and which are passed over or refused.

A field that would change the answer, and is not served, is refused: an answer to
something else than was asked is worse than none. vLLM's own extensions are
among them unless they stand here: some would let a caller bring a chat template.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import Descriptor

from parley.inference.v1 import chat_pb2, completion_pb2, embed_pb2
from services.inference.errors import ParameterInvalid, ParameterUnsupported
from services.inference.openai_compat.sampling import FIELDS
from services.rpc.interceptors.oversize import most_items

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
        longest: How long lists may be. The contract would refuse longer ones, too,
            but not before all that is in them was read.
    """

    fields: frozenset[str]
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    longest: Mapping[str, float] = field(default_factory=dict)

    def of(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a body that are to be read. A null stands for a field that is not there.

        Raises:
            ParameterInvalid: A list is too long.
            ParameterUnsupported: It asks for what is not served.
        """
        served = {name: value for name, value in body.items() if self._is_read(name, value)}
        for name, most in self.longest.items():
            if isinstance(value := served.get(name), list) and len(value) > most:
                raise ParameterInvalid(name, f"it has more than {most} items")
        return served

    def _is_read(self, name: str, value: Any) -> bool:
        if value is None or name in PASSED_OVER:
            return False
        if name in self.fields:
            return True
        if any(type(value) is type(harmless) and value == harmless for harmless in self.only.get(name, ())):
            return False
        raise ParameterUnsupported(name)


def _most(descriptor: Descriptor, name: str) -> float:
    """How long a list of the contract may be."""
    return most_items(descriptor.fields_by_name[name])


MOST_MESSAGES = _most(chat_pb2.ChatRequest.DESCRIPTOR, "messages")
MOST_TEXTS = _most(embed_pb2.EmbedRequest.DESCRIPTOR, "texts")
MOST_TOKENS = _most(completion_pb2.TokenIds.DESCRIPTOR, "ids")
MOST_TOOLS = _most(chat_pb2.ClientTools.DESCRIPTOR, "tools")

CHAT_COMPLETION = Served(
    fields=FIELDS
    | {
        EXTENSION,
        "chat_template_kwargs",
        "include_reasoning",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "model",
        "parallel_tool_calls",
        "reasoning_effort",
        "stream",
        "stream_options",
        "tool_choice",
        "tools",
        "top_logprobs",
    },
    only={"modalities": (["text"],), "verbosity": ("medium",)},
    longest={"messages": MOST_MESSAGES, "tools": MOST_TOOLS},
)

COMPLETION = Served(
    fields=FIELDS
    | {EXTENSION, "echo", "logprobs", "max_tokens", "model", "prompt", "stream", "stream_options"},
    only={"best_of": (1,), "suffix": ("",)},
    longest={"prompt": MOST_TOKENS},
)

EMBEDDING = Served(
    fields=frozenset({"dimensions", "encoding_format", "input", "model"}),
    longest={"input": MOST_TOKENS},
)

RESPONSE = Served(
    fields=FIELDS - {"min_tokens", "n", "response_format"}
    | {
        EXTENSION,
        "include",
        "include_reasoning",
        "input",
        "instructions",
        "max_output_tokens",
        "model",
        "parallel_tool_calls",
        "reasoning",
        "stream",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
    },
    only={"background": (False,), "truncation": ("disabled",), "stream_options": ({},)},
    longest={"input": MOST_MESSAGES, "tools": MOST_TOOLS},
)
