"""How runs end and what they used, in OpenAI's words."""

from __future__ import annotations

from typing import Any

from parley.inference.v1 import chat_pb2

_PREFIX = "FINISH_REASON_"
# Every limit that cuts an answer short; `parley.finish_reason` says which.
_REASONS = {
    chat_pb2.FINISH_REASON_STOP: "stop",
    chat_pb2.FINISH_REASON_TOOL_CALLS: "tool_calls",
}


def finish_reason(finished: chat_pb2.ChatFinished) -> str:
    """`finish_reason` of a run that ended well, or at a limit."""
    return _REASONS.get(finished.reason, "length")


def ending(run_id: str, finished: chat_pb2.ChatFinished) -> dict[str, Any]:
    """The extension `parley` of an answer's end: the run, and why it ended in the contract's own words."""
    reason = chat_pb2.FinishReason.Name(finished.reason).removeprefix(_PREFIX)
    return {"run_id": run_id, "finish_reason": reason}


def usage(used: chat_pb2.Usage) -> dict[str, Any]:
    """`usage` of an answer."""
    return {
        "prompt_tokens": used.prompt_tokens,
        "completion_tokens": used.completion_tokens,
        "total_tokens": used.prompt_tokens + used.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": used.cached_prompt_tokens},
        "completion_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
    }
