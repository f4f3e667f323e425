"""A chat completion as the chat of the contract that it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from parley.inference.v1 import chat_pb2
from services.inference.openai_compat import tools
from services.inference.openai_compat.checking import Checker, put
from services.inference.openai_compat.extension import extended
from services.inference.openai_compat.messages import messages
from services.inference.openai_compat.parameters import CHAT_COMPLETION, EXTENSION
from services.inference.openai_compat.request_models import RequestModels
from services.inference.openai_compat.sampling import Sampled, hold_to_form, sample


@dataclass(frozen=True)
class ChatAsked(Sampled):
    """What a body asks for.

    Attributes:
        request: The chat.
        stream: Whether the answer comes piece by piece.
        include_usage: Whether a stream tells its tokens at its end.
        include_reasoning: Whether the answer has the model's reasoning.
    """

    request: chat_pb2.ChatRequest
    stream: bool = False
    include_usage: bool = False
    include_reasoning: bool = True

    @property
    def client_tools(self) -> frozenset[str]:
        """Names of the tools that the client answers itself."""
        return frozenset(tool.name for tool in self.request.client_tools.tools)


class ChatReader:
    """Reads chat completions."""

    def __init__(self, models: RequestModels, checker: Checker) -> None:
        """Read with these models, and hold what comes of it to the contract's rules."""
        self._models = models
        self._checker = checker

    async def read(self, body: dict[str, Any]) -> ChatAsked:
        """What a body asks for.

        Raises:
            ParameterInvalid: A field has a value that it does not take.
            ParameterUnsupported: It asks for what is not served.
        """
        served = CHAT_COMPLETION.of(body)
        extension = served.pop(EXTENSION, None)
        read = (await self._models.get()).chat_completion(served)
        request = chat_request(read, extended(extension))
        self._checker.check(request)
        options = read.stream_options
        return ChatAsked(
            request,
            stream=bool(read.stream),
            include_usage=bool(options and options.include_usage),
            include_reasoning=read.include_reasoning,
        )


def chat_request(read: Any, request: chat_pb2.ChatRequest) -> chat_pb2.ChatRequest:
    """Complete a chat by what vLLM's model holds.

    Raises:
        ParameterInvalid: A field has a value that it does not take.
        ParameterUnsupported: It asks for what is not served.
    """
    request.model = read.model or ""
    request.messages.extend(messages(read.messages))
    sample(read, request.sampling)
    for name in ("max_tokens", "max_completion_tokens"):
        most = vars(read)[name]  # read as an attribute, the older one warns each time
        if most is not None:
            put(request.sampling, "max_output_tokens", most, name)
    if read.logprobs:
        put(request.sampling, "top_logprobs", read.top_logprobs, "top_logprobs")
    hold_to_form(read, request.structured_output)
    tools.reason(read.reasoning_effort, request, "reasoning_effort")
    tools.think(read.chat_template_kwargs, request, "chat_template_kwargs")
    if read.tools and read.tool_choice != "none":
        _bring_tools(read, request)
    return request


def _bring_tools(read: Any, request: chat_pb2.ChatRequest) -> None:
    for position, tool in enumerate(read.tools):
        tools.bring(tool.function, request, f"tools[{position}].function")
    if read.parallel_tool_calls is False:
        request.parallel_tool_calls = False
    chosen = read.tool_choice
    if isinstance(chosen, str | None):
        tools.choose(chosen, "", request)
    else:
        tools.choose(None, chosen.function.name, request)
