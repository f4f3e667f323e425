"""Completions as those of the contract that they ask for: one for each prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from parley.inference.v1 import completion_pb2
from services.inference.errors import ParameterInvalid
from services.inference.openai_compat.checking import Checker, put, reading
from services.inference.openai_compat.extension import OF_COMPLETIONS, extended
from services.inference.openai_compat.parameters import COMPLETION, EXTENSION
from services.inference.openai_compat.request_models import RequestModels
from services.inference.openai_compat.sampling import Sampled, hold_to_form, sample

MOST_CHOICES = 128
"""Answers of one request: its prompts, times `n`."""

_NAMED = {"max_completion_tokens": "max_tokens", "top_logprobs": "logprobs"}


@dataclass(frozen=True)
class CompletionAsked(Sampled):
    """What a body asks for.

    Attributes:
        request: The completion of the first prompt; those of others differ by their prompt alone.
        requests: The completions of all prompts, in their order.
        stream: Whether the answer comes piece by piece.
        include_usage: Whether a stream tells its tokens at its end.
    """

    request: completion_pb2.CompleteRequest
    requests: tuple[completion_pb2.CompleteRequest, ...]
    stream: bool = False
    include_usage: bool = False

    def index(self, prompt: int, choice: int) -> int:
        """The number of a prompt's choice among all, as OpenAI counts them."""
        return prompt * self.choice_count + choice


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
        if _is_several(given := served.get("prompt")):
            _refuse_too_many(len(given))
        extension = extended(served.pop(EXTENSION, None), OF_COMPLETIONS)
        read = (await self._models.get()).completion(served)
        request = completion_request(read)
        for field, value in extension.ListFields():
            getattr(request, field.name).CopyFrom(value)
        prompts = _prompts(read.prompt)
        if len(prompts) > 1:
            _refuse_too_many(len(prompts) * (request.sampling.choice_count or 1))
        requests = tuple(self._each(request, prompts))
        options = read.stream_options
        return CompletionAsked(
            requests[0],
            requests,
            stream=bool(read.stream),
            include_usage=bool(options and options.include_usage),
        )

    def _each(
        self, request: completion_pb2.CompleteRequest, prompts: Sequence[str | list[int]]
    ) -> Iterator[completion_pb2.CompleteRequest]:
        """The completion of each prompt.

        Raises:
            ParameterInvalid: One has a value that it does not take.
        """
        for at, each in enumerate(prompts):
            path = "prompt" if len(prompts) == 1 else f"prompt[{at}]"
            own = completion_pb2.CompleteRequest()
            own.CopyFrom(request)
            _go_on_with(each, own, path)
            self._checker.check(own, {**_NAMED, "prompt": path})
            yield own


def completion_request(read: Any) -> completion_pb2.CompleteRequest:
    """What vLLM's model holds, without a prompt.

    Raises:
        ParameterInvalid: A field has a value that it does not take.
        ParameterUnsupported: It asks for what is not served.
    """
    request = completion_pb2.CompleteRequest(model=read.model or "", echo=bool(read.echo))
    sample(read, request.sampling)
    request.echo_only = request.echo and read.max_tokens == 0
    if read.max_tokens is not None and not request.echo_only:
        put(request.sampling, "max_output_tokens", read.max_tokens, "max_tokens")
    if read.logprobs is not None:
        put(request.sampling, "top_logprobs", read.logprobs, "logprobs")
    hold_to_form(read, request.structured_output)
    return request


def _refuse_too_many(choices: int) -> None:
    """Refuse more answers than one request may have.

    Raises:
        ParameterInvalid: There would be more.
    """
    if choices > MOST_CHOICES:
        raise ParameterInvalid("prompt", f"its prompts, times n, are more than {MOST_CHOICES}")


def _is_several(given: Any) -> TypeGuard[list[Any]]:
    """Whether it is a list of prompts; one of numbers is a prompt of tokens."""
    return isinstance(given, list) and not isinstance(given[0] if given else 0, int)


def _prompts(given: Any) -> list[str | list[int]]:
    """The prompts: of a text or a list of tokens one, else as many as the list has.

    Raises:
        ParameterInvalid: There is none.
    """
    match given:
        case None:
            raise ParameterInvalid("prompt", "it is missing")
        case []:
            raise ParameterInvalid("prompt", "it is empty")
        case _ if _is_several(given):
            return list(given)
        case _:
            return [given]


def _go_on_with(prompt: str | list[int], request: completion_pb2.CompleteRequest, path: str) -> None:
    if isinstance(prompt, str):
        request.text = prompt
        return
    with reading(path):
        request.tokens.ids.extend(prompt)
