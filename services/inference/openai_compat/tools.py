"""The tools that a client brings, and what else both of OpenAI's chat APIs ask of a model."""

from __future__ import annotations

from typing import Any

from parley.inference.v1 import chat_pb2, tool_choice_pb2
from services.inference.errors import ParameterInvalid, ParameterUnsupported
from services.inference.openai_compat.bodies import write
from services.inference.openai_compat.checking import reading

# What families' templates call the switch for reasoning.
THINKING = frozenset({"enable_thinking", "thinking"})


def bring(function: Any, request: chat_pb2.ChatRequest, parameter: str) -> None:
    """Offer the model a function of the client's, whose calls end the run.

    Raises:
        ParameterInvalid: Its parameters cannot be written.
    """
    with reading(f"{parameter}.parameters"):
        schema = write(function.parameters).decode() if function.parameters else ""
    request.client_tools.mode = chat_pb2.CLIENT_TOOL_MODE_END_RUN
    request.client_tools.tools.add(
        name=function.name, description=function.description or "", parameters_schema=schema
    )


def choose(choice: str | None, name: str, request: chat_pb2.ChatRequest) -> None:
    """Demand calls: of any tool where the choice says so, of one where it has a name."""
    if name:
        request.tool_choice.name = name
    elif choice == "required":
        request.tool_choice.mode = tool_choice_pb2.TOOL_CHOICE_MODE_REQUIRED


def think(switches: Any, request: chat_pb2.ChatRequest, parameter: str) -> None:
    """Take over whether the model reasons, as vLLM's clients tell its template.

    Raises:
        ParameterInvalid: A switch is neither on nor off, or two contradict each other.
        ParameterUnsupported: It is another variable of the template's.
    """
    for name, value in (switches or {}).items():
        if name not in THINKING:
            raise ParameterUnsupported(f"{parameter}.{name}")
        if not isinstance(value, bool):
            raise ParameterInvalid(f"{parameter}.{name}", "it is neither true nor false")
        if request.reasoning.HasField("enabled") and request.reasoning.enabled != value:
            raise ParameterInvalid(f"{parameter}.{name}", "another switch contradicts it")
        request.reasoning.enabled = value


def reason(effort: str | None, request: chat_pb2.ChatRequest, parameter: str) -> None:
    """Take over how much the model reasons.

    Raises:
        ParameterUnsupported: The contract has no such degree.
    """
    if effort is None:
        return
    try:
        request.reasoning.effort = chat_pb2.ReasoningEffort.Value(f"REASONING_EFFORT_{effort.upper()}")
    except ValueError:
        raise ParameterUnsupported(parameter) from None
