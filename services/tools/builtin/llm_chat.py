"""`llm_chat`: a tool that asks a model."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from parley.inference.v1 import chat_pb2, message_pb2
from services.tools.catalogue import (
    Arguments,
    Category,
    Example,
    LoopCall,
    SafetyLevel,
    Tool,
    ToolResult,
    tool,
)
from services.tools.nested_chats import AnswerEnd, NestedChats

NOT_CONFIGURED = "no models are configured for it; the operator sets PARLEY_TOOLS_INFERENCE_ADDRESS"
TIMEOUT_SECONDS = 120


class LlmChatArguments(Arguments):
    """What `llm_chat` takes."""

    message: str = Field(
        min_length=1,
        max_length=65_536,
        description="What the model is to answer. It sees nothing else of this conversation.",
        examples=["Summarise this in one sentence: ..."],
    )
    system_prompt: str | None = Field(
        None, min_length=1, max_length=16_384, description="Instructions that stand above the message."
    )
    model: str = Field(
        "",
        max_length=256,
        pattern=r"^([a-zA-Z0-9][a-zA-Z0-9._/:-]{0,255})?$",
        description="The model's name; empty: the deployment's default model.",
    )
    max_tokens: int = Field(512, ge=1, le=8192, description="Tokens that the answer may have at most.")
    temperature: float | None = Field(
        None, ge=0, le=2, description="0 gives the likeliest answer; default: the model's own."
    )


class LlmChatResult(ToolResult):
    """What `llm_chat` gives."""

    answer: str = Field(description="What the model answered.")
    model: str = Field(description="The model that answered.")
    finish_reason: AnswerEnd = Field(
        description="stop: it is whole; length: it was cut at max_tokens; budget: your tokens ran out."
    )
    prompt_tokens: int = Field(description="Tokens of the prompt, charged to you.")
    completion_tokens: int = Field(description="Tokens of the answer, charged to you.")


_GREETING = Example(
    "A question of its own",
    {"message": "hello"},
    {
        "answer": "Hello! What can I do for you?",
        "model": "parley-demo",
        "finish_reason": "stop",
        "prompt_tokens": 16,
        "completion_tokens": 12,
    },
    varies=True,
)


def llm_chat_tool(chats: NestedChats | None) -> Tool:
    """The tool; without models to ask it says why it cannot be called."""

    @tool(
        category=Category.UTILITY,
        safety=SafetyLevel.RESTRICTED,
        timeout_seconds=TIMEOUT_SECONDS,
        max_output_bytes=256 * 2**10,
        idempotent=False,
        waits_apart=True,
        examples=[_GREETING],
    )
    async def llm_chat(arguments: LlmChatArguments, call: LoopCall) -> LlmChatResult:
        """Asks a language model a question of its own, without this conversation and without tools."""
        assert chats is not None  # noqa: S101 - not called while it is unavailable
        question = _question(arguments)
        answer = await chats.ask("llm_chat", call.principal, question, TIMEOUT_SECONDS, call.report)
        return LlmChatResult(
            answer=answer.text,
            model=answer.model,
            finish_reason=answer.finish_reason,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
        )

    return llm_chat if chats is not None else replace(llm_chat, unavailable=NOT_CONFIGURED)


def _question(arguments: LlmChatArguments) -> chat_pb2.ChatRequest:
    """The question as inference is asked it."""
    said = [(message_pb2.ROLE_USER, arguments.message)]
    if arguments.system_prompt is not None:
        said.insert(0, (message_pb2.ROLE_SYSTEM, arguments.system_prompt))
    return chat_pb2.ChatRequest(
        model=arguments.model,
        messages=[_message(role, text) for role, text in said],
        sampling=chat_pb2.SamplingOptions(
            max_output_tokens=arguments.max_tokens, temperature=arguments.temperature
        ),
    )


def _message(role: message_pb2.Role.ValueType, text: str) -> message_pb2.Message:
    return message_pb2.Message(role=role, content=[message_pb2.ContentPart(text=text)])
