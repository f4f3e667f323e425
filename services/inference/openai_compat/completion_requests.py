"""A completion as the one of the contract that it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from parley.inference.v1 import completion_pb2
from services.inference.errors import ParameterInvalid, ParameterUnsupported
from services.inference.openai_compat.checking import Checker, put, reading
from services.inference.openai_compat.extension import OF_COMPLETIONS, extended
from services.inference.openai_compat.parameters import COMPLETION, EXTENSION
from services.inference.openai_compat.request_models import RequestModels
from services.inference.openai_compat.sampling import Sampled, hold_to_form, sample

_NAMED = {"max_completion_tokens": "max_tokens", "top_logprobs": "logprobs"}


@dataclass(frozen=True)
class CompletionAsked(Sampled):
    """What a body asks for.

    Attributes:
        request: The completion.
        stream: Whether the answer comes piece by piece.
        include_usage: Whether a stream tells its tokens at its end.
    """

    request: completion_pb2.CompleteRequest
    stream: bool = False
    include_usage: bool = False


class CompletionReader:
    """Reads completions."""

    def __init__(self, models: RequestModels, checker: Checker) -> None:
        """Read with these models, and hold what comes of it to the contract's rules."""
        self._models = models
        self._checker = checker

    async def read(self, body: dict[str, Any]) -> CompletionAsked:
        """What a body asks for.

        Raises:
            ParameterInvalid: A field has a value that it does not take.
            ParameterUnsupported: It asks for what is not served.
        """
        served = COMPLETION.of(body)
        extension = extended(served.pop(EXTENSION, None), OF_COMPLETIONS)
        read = (await self._models.get()).completion(served)
        request = completion_request(read)
        for field, value in extension.ListFields():
            getattr(request, field.name).CopyFrom(value)
        self._checker.check(request, _NAMED)
        options = read.stream_options
        return CompletionAsked(
            request, stream=bool(read.stream), include_usage=bool(options and options.include_usage)
        )


def completion_request(read: Any) -> completion_pb2.CompleteRequest:
    """The completion that vLLM's model holds.

    Raises:
        ParameterInvalid: A field has a value that it does not take.
        ParameterUnsupported: It asks for what is not served.
    """
    request = completion_pb2.CompleteRequest(model=read.model or "", echo=bool(read.echo))
    _go_on_with(read.prompt, request)
    sample(read, request.sampling)
    if read.max_tokens is not None:
        put(request.sampling, "max_output_tokens", read.max_tokens, "max_tokens")
    if read.logprobs is not None:
        put(request.sampling, "top_logprobs", read.logprobs, "logprobs")
    hold_to_form(read, request.structured_output)
    return request


def _go_on_with(prompt: Any, request: completion_pb2.CompleteRequest) -> None:
    """Take over the prompt: a text, tokens, or a list with one of them."""
    match prompt:
        case None:
            raise ParameterInvalid("prompt", "it is missing")
        case str():
            request.text = prompt
        case [int(), *_]:
            with reading("prompt"):
                request.tokens.ids.extend(prompt)
        case [only]:
            _go_on_with(only, request)
        case []:
            raise ParameterInvalid("prompt", "it is empty")
        case _:
            raise ParameterUnsupported("prompt[1]")
