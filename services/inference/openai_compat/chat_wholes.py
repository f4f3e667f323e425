"""What a run said as one chat completion."""

from __future__ import annotations

from typing import Any

from services.inference.openai_compat.calls import whole_call
from services.inference.openai_compat.chat_requests import ChatAsked
from services.inference.openai_compat.endings import ending, finish_reason, usage
from services.inference.openai_compat.gathering import Gathered, Responses, gather
from services.inference.openai_compat.logprobs import of_chat


async def chat_completion(asked: ChatAsked, responses: Responses) -> dict[str, Any]:
    """The answer to a chat completion that is no stream.

    Raises:
        RunFailed: The run came to no answer.
    """
    said = await gather(responses)
    return {
        "id": f"chatcmpl-{said.started.run_id}",
        "object": "chat.completion",
        "created": said.created,
        "model": said.started.model,
        "choices": [_choice(asked, said, index) for index in range(asked.choice_count)],
        "usage": usage(said.usage),
        "parley": ending(said.started, said.finished),
    }


def _choice(asked: ChatAsked, said: Gathered, index: int) -> dict[str, Any]:
    return {
        "index": index,
        "message": _message(asked, said, index),
        "logprobs": of_chat(said.choices[index].logprobs) if asked.has_logprobs else None,
        "finish_reason": finish_reason(said.finished, index),
    }


def _message(asked: ChatAsked, said: Gathered, index: int) -> dict[str, Any]:
    choice = said.choices[index]
    content = "".join(choice.content)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if said.calls and not content else content,
        "refusal": None,
    }
    if said.calls:
        message["tool_calls"] = [whole_call(call) for call in said.calls]
    if choice.reasoning and asked.include_reasoning:
        message["reasoning"] = "".join(choice.reasoning)
    return message
