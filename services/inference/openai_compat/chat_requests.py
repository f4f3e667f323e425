"""A chat completion as the chat of the contract that it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from parley.inference.v1 import chat_pb2
from services.inference.errors import ParameterInvalid
from services.inference.openai_compat.bodies import write
from services.inference.openai_compat.checking import Checker, put, reading
from services.inference.openai_compat.extension import extended
from services.inference.openai_compat.messages import messages
from services.inference.openai_compat.parameters import CHAT_COMPLETION, EXTENSION
from services.inference.openai_compat.request_models import RequestModels

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "seed")


@dataclass(frozen=True)
class ChatAsked:
    """What a body asks for.

    Attributes:
        request: The chat.
        stream: Whether the answer comes piece by piece.
        include_usage: Whether a stream tells its tokens at its end.
        include_reasoning: Whether the answer has the model's reasoning.
    """

    request: chat_pb2.ChatRequest
    stream: bool
    include_usage: bool
    include_reasoning: bool

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
            InvalidRequest: The chat that it asks for breaks the contract's rules.
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
    """Complete a chat by what vLLM's model holds."""
    request.model = read.model or ""
    request.messages.extend(messages(read.messages))
    _sample(read, request.sampling)
    if read.reasoning_effort is not None:
        request.reasoning.enabled = read.reasoning_effort != "none"
    if read.tools and read.tool_choice != "none":
        _bring_tools(read, request.client_tools)
    return request


def _sample(read: Any, sampling: chat_pb2.SamplingOptions) -> None:
    for name in SAMPLING:
        value = getattr(read, name)
        if value is not None:
            put(sampling, name, value, name)
    for name in ("max_tokens", "max_completion_tokens"):
        most = vars(read)[name]  # read as an attribute, the older one warns each time
        if most is not None:
            put(sampling, "max_output_tokens", most, name)
    sampling.stop.extend([read.stop] if isinstance(read.stop, str) else read.stop or ())


def _bring_tools(read: Any, client_tools: chat_pb2.ClientTools) -> None:
    if read.tool_choice not in ("auto", None):
        raise ParameterInvalid("tool_choice", "only 'auto' and 'none' are served")
    client_tools.mode = chat_pb2.CLIENT_TOOL_MODE_END_RUN
    for position, tool in enumerate(read.tools):
        function = tool.function
        with reading(f"tools[{position}].function.parameters"):
            schema = write(function.parameters).decode() if function.parameters else ""
        client_tools.tools.add(
            name=function.name, description=function.description or "", parameters_schema=schema
        )
