"""A turn: what a model is to answer, in the domain's own terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from services.inference.engine.options import Effort, OutputForm, RawPrompt, ToolChoice
from services.inference.images.image import Image


class Role(StrEnum):
    """Who said a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call as the model wrote it.

    Attributes:
        id: Names the call within its conversation.
        name: The tool's name.
        arguments: JSON text, or what the model took for it.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message; see `parley.inference.v1.Message`. Its images say where in the text they stand."""

    role: Role
    content: str
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model is told of it.

    Attributes:
        name: The name by which it is called.
        description: What it does.
        parameters: The JSON Schema of its arguments.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen; None takes the model's generation default.

    `parley.inference.v1.SamplingOptions` says what each means.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    max_output_tokens: int | None = None
    stop: tuple[str, ...] = ()
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    stop_token_ids: tuple[int, ...] = ()
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    min_output_tokens: int = 0
    ignore_eos: bool = False
    choice_count: int = 1
    top_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What the model is to answer.

    Attributes:
        messages: The conversation, oldest first.
        tools: The tools that it may call.
        sampling: How tokens are chosen.
        reasoning: Whether to reason first; None leaves it to the chat template.
        effort: How much to reason; None leaves it to the chat template.
        tool_choice: Whether it must call tools.
        parallel_calls: Whether it may make several calls.
        form: The form that the answer is held to, if any.
        raw: What is gone on with instead of messages.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    reasoning: bool | None = None
    effort: Effort | None = None
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    parallel_calls: bool = True
    form: OutputForm | None = None
    raw: RawPrompt | None = None
