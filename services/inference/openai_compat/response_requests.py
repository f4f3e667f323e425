"""What is asked of OpenAI's Responses, as the chat of the contract that it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from parley.inference.v1 import chat_pb2
from services.inference.errors import ParameterUnsupported
from services.inference.openai_compat import tools
from services.inference.openai_compat.checking import Checker, put
from services.inference.openai_compat.extension import extended
from services.inference.openai_compat.parameters import EXTENSION, RESPONSE
from services.inference.openai_compat.request_models import RequestModels
from services.inference.openai_compat.response_input import messages
from services.inference.openai_compat.sampling import hold_to_constraint, hold_to_format, sample

LOGPROBS = "message.output_text.logprobs"
# What cannot be included here is nothing that an answer here has.
INCLUDED = frozenset({LOGPROBS, "reasoning.encrypted_content"})

_NAMED = {"max_completion_tokens": "max_output_tokens", "response_format": "text.format", "messages": "input"}
# What an answer repeats of what was asked, with what it is where nothing was.
_REPEATED: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "parallel_tool_calls": True,
    "reasoning": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
}


@dataclass(frozen=True)
class ResponseAsked:
    """What a body asks for.

    Attributes:
        request: The chat.
        stream: Whether the answer comes piece by piece.
        include_reasoning: Whether the answer has the model's reasoning.
        repeated: What the answer repeats of the body.
    """

    request: chat_pb2.ChatRequest
    stream: bool = False
    include_reasoning: bool = True
    repeated: dict[str, Any] = field(default_factory=lambda: dict(_REPEATED))

    @property
    def client_tools(self) -> frozenset[str]:
        """Names of the tools that the client answers itself."""
        return frozenset(tool.name for tool in self.request.client_tools.tools)


class ResponseReader:
    """Reads what is asked of Responses."""

    def __init__(self, models: RequestModels, checker: Checker) -> None:
        """Read with these models, and hold what comes of it to the contract's rules."""
        self._models = models
        self._checker = checker

    async def read(self, body: dict[str, Any]) -> ResponseAsked:
        """What a body asks for.

        Raises:
            ParameterInvalid: A field has a value that it does not take.
            ParameterUnsupported: It asks for what is not served.
        """
        served = RESPONSE.of(body)
        extension = served.pop(EXTENSION, None)
        read = (await self._models.get()).response(served)
        request = response_request(read, extended(extension))
        self._checker.check(request, _NAMED)
        return ResponseAsked(
            request,
            stream=bool(read.stream),
            include_reasoning=read.include_reasoning,
            repeated={name: served.get(name, unsaid) for name, unsaid in _REPEATED.items()},
        )


def response_request(read: Any, request: chat_pb2.ChatRequest) -> chat_pb2.ChatRequest:
    """Complete a chat by what vLLM's model holds.

    Raises:
        ParameterInvalid: A field has a value that it does not take.
        ParameterUnsupported: It asks for what is not served.
    """
    request.model = read.model or ""
    request.messages.extend(messages(read.instructions, read.input))
    sample(read, request.sampling)
    if read.max_output_tokens is not None:
        put(request.sampling, "max_output_tokens", read.max_output_tokens, "max_output_tokens")
    _include(read, request)
    _hold_to_text(read, request)
    if read.reasoning is not None:
        tools.reason(read.reasoning.effort, request, "reasoning.effort")
    if read.tools and read.tool_choice != "none":
        _bring_tools(read, request)
    return request


def _include(read: Any, request: chat_pb2.ChatRequest) -> None:
    for name in read.include or ():
        if name not in INCLUDED:
            raise ParameterUnsupported("include")
    if LOGPROBS in (read.include or ()):
        put(request.sampling, "top_logprobs", read.top_logprobs, "top_logprobs")


def _hold_to_text(read: Any, request: chat_pb2.ChatRequest) -> None:
    asked = read.text.format if read.text is not None else None
    if asked is None or asked.type == "text":
        hold_to_constraint(read.structured_outputs, request.structured_output)
    else:
        schema = asked.schema_ if asked.type == "json_schema" else None
        hold_to_format(asked.type, schema, request.structured_output, "text.format")


def _bring_tools(read: Any, request: chat_pb2.ChatRequest) -> None:
    for position, tool in enumerate(read.tools):
        if tool.type != "function":
            raise ParameterUnsupported(f"tools[{position}].type")
        tools.bring(tool, request, f"tools[{position}]")
    if read.parallel_tool_calls is False:
        request.parallel_tool_calls = False
    chosen = read.tool_choice
    if isinstance(chosen, str):
        tools.choose(chosen, "", request)
    elif chosen.type == "function":
        tools.choose(None, chosen.name, request)
    else:
        raise ParameterUnsupported("tool_choice")
