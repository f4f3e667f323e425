"""Texts to embed, as OpenAI's clients ask for them, and their embeddings as these clients read them."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from parley.inference.v1 import embed_pb2
from services.inference.errors import ParameterInvalid
from services.inference.openai_compat.checking import Checker, put, reading
from services.inference.openai_compat.parameters import EMBEDDING, MOST_TEXTS

FLOAT, BASE64 = "float", "base64"
ENCODINGS = (FLOAT, BASE64)
_NAMED = {"prompt": "input"}


@dataclass(frozen=True)
class EmbeddingAsked:
    """What a body asks for.

    Attributes:
        request: The texts or their tokens, and how their embeddings are wanted.
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
        request = embed_pb2.EmbedRequest(model=served.get("model", ""))
        _take(served.get("input"), request)
        if "dimensions" in served:
            put(request, "dimensions", served["dimensions"], "dimensions")
        self._checker.check(request, _NAMED)
        return EmbeddingAsked(request, encoding)


def _take(given: Any, request: embed_pb2.EmbedRequest) -> None:
    """Take over an input: a text or its tokens, or a list of either.

    Raises:
        ParameterInvalid: It is no input.
    """
    is_one = not isinstance(given, list) or any(map(_is_token, given[:1]))
    several = [given] if is_one else given
    if not 0 < len(several) <= MOST_TEXTS:
        raise ParameterInvalid("input", f"it has not 1 to {MOST_TEXTS} items")
    for at, each in enumerate(several):
        path = "input" if is_one else f"input[{at}]"
        if isinstance(each, str) and not request.tokens:
            request.texts.append(each)
        elif isinstance(each, list) and not request.texts and all(map(_is_token, each)):
            with reading(path):
                request.tokens.add().ids.extend(each)
        else:
            raise ParameterInvalid(path, "it is no text and no tokens, or not the same as those before it")


def _is_token(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool)


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
