"""From the contract to the domain: how a turn is generated."""

from __future__ import annotations

from typing import Any

from parley.inference.v1 import chat_pb2, structured_output_pb2, tool_choice_pb2
from services.inference.engine.options import CallMode, Effort, FormKind, OutputForm, ToolChoice
from services.inference.engine.turn import Sampling


def sampling(given: chat_pb2.SamplingOptions) -> Sampling:
    """How tokens are chosen; unset fields stay unset. The domain names them as the contract does."""
    fields: dict[str, Any] = {field.name: value for field, value in given.ListFields()}
    for name in ("stop", "stop_token_ids"):
        fields[name] = tuple(getattr(given, name))
    return Sampling(**fields | {"logit_bias": dict(given.logit_bias)})


def reasoning(given: chat_pb2.ReasoningOptions) -> bool | None:
    """Whether to reason; None leaves it to the model."""
    if given.HasField("enabled"):
        return given.enabled
    chosen = effort(given)
    return None if chosen is None else chosen is not Effort.NONE


def effort(given: chat_pb2.ReasoningOptions) -> Effort | None:
    """How much to reason; None leaves it to the model."""
    if given.effort == chat_pb2.REASONING_EFFORT_UNSPECIFIED:
        return None
    return Effort[chat_pb2.ReasoningEffort.Name(given.effort).removeprefix("REASONING_EFFORT_")]


def tool_choice(given: tool_choice_pb2.ToolChoice) -> ToolChoice:
    """Whether tools must be called; unset means that the model decides."""
    match given.WhichOneof("choice"):
        case "name":
            return ToolChoice(CallMode.REQUIRED, given.name)
        case "mode":
            name = tool_choice_pb2.ToolChoiceMode.Name(given.mode)
            return ToolChoice(CallMode[name.removeprefix("TOOL_CHOICE_MODE_")])
        case _:
            return ToolChoice()


def form(given: structured_output_pb2.StructuredOutput) -> OutputForm | None:
    """The form of the answer; None for any."""
    name = given.WhichOneof("form")
    if name is None:
        return None
    kind = FormKind(name)
    if kind is FormKind.CHOICES:
        return OutputForm(kind, choices=tuple(given.choices.texts))
    return OutputForm(kind, "" if kind is FormKind.JSON_OBJECT else getattr(given, name))
