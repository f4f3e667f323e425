"""Texts to embed, as OpenAI's clients ask for them, and their embeddings as these clients read them."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from parley.inference.v1 import embed_pb2
from services.inference.errors import ParameterInvalid, ParameterUnsupported
from services.inference.openai_compat.checking import Checker, put
from services.inference.openai_compat.parameters import EMBEDDING

FLOAT, BASE64 = "float", "base64"
ENCODINGS = (FLOAT, BASE64)


@dataclass(frozen=True)
class EmbeddingAsked:
    """What a body asks for.

    Attributes:
        request: The texts, and how their embeddings are wanted.
        encoding: `float` for lists of numbers, `base64` for packed ones.
    """

    request: embed_pb2.EmbedRequest
    encoding: str = FLOAT


class EmbeddingReader:
    """Reads requests for embeddings: three fields beside the model, which need no model of vLLM's."""

    def __init__(self, checker: Checker) -> None:
        """Hold what is read to the contract's rules."""
        self._checker = checker

    def read(self, body: dict[str, Any]) -> EmbeddingAsked:
        """What a body asks for.

        Raises:
            ParameterInvalid: A field has a value that it does not take.
            ParameterUnsupported: It asks for what is not served.
        """
        served = EMBEDDING.of(body)
        encoding = served.get("encoding_format", FLOAT)
        if encoding not in ENCODINGS:
            raise ParameterInvalid("encoding_format", f"it is none of {', '.join(ENCODINGS)}")
        request = embed_pb2.EmbedRequest(model=served.get("model", ""), texts=_texts(served.get("input")))
        if "dimensions" in served:
            put(request, "dimensions", served["dimensions"], "dimensions")
        self._checker.check(request)
        return EmbeddingAsked(request, encoding)


def _texts(given: Any) -> list[str]:
    """The texts of an input.

    Raises:
        ParameterInvalid: It is no input.
        ParameterUnsupported: It holds tokens. A client that makes them itself
            takes another model's tokenizer, and would embed something else.
    """
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list):
        raise ParameterInvalid("input", "it is neither a text nor a list of texts")
    for at, text in enumerate(texts):
        if not isinstance(text, str):
            raise ParameterUnsupported(f"input[{at}]")
    return texts


def embedding_list(asked: EmbeddingAsked, answer: embed_pb2.EmbedResponse) -> dict[str, Any]:
    """The embeddings as OpenAI's list."""
    write = _packed if asked.encoding == BASE64 else list
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": at, "embedding": write(embedding.values)}
            for at, embedding in enumerate(answer.embeddings)
        ],
        "model": answer.model,
        "usage": {"prompt_tokens": answer.prompt_tokens, "total_tokens": answer.prompt_tokens},
    }


def _packed(values: Sequence[float]) -> str:
    """Little-endian IEEE 754 numbers of 32 bits, as OpenAI packs them."""
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode("ascii")
