"""How runs end and what they used, in OpenAI's words."""

from __future__ import annotations

from typing import Any

from parley.inference.v1 import chat_pb2

# Every limit that cuts an answer short is a length; `parley.finish_reason` says which.
_REASONS = {
    chat_pb2.FINISH_REASON_STOP: "stop",
    chat_pb2.FINISH_REASON_TOOL_CALLS: "tool_calls",
}


def finish_reason(finished: chat_pb2.ChatFinished, choice: int) -> str:
    """`finish_reason` of a choice of a run that ended well, or at a limit."""
    reasons = {end.choice: end.reason for end in finished.choices}
    return _REASONS.get(reasons.get(choice, finished.reason), "length")


def ending(started: chat_pb2.ChatStarted, finished: chat_pb2.ChatFinished) -> dict[str, Any]:
    """The extension `parley` of an answer's end: its run, in the contract's own words."""
    return {
        "run_id": started.run_id,
        "finish_reason": chat_pb2.FinishReason.Name(finished.reason).removeprefix("FINISH_REASON_"),
        "cache": chat_pb2.CacheState.Name(started.cache).removeprefix("CACHE_STATE_"),
    }


def usage(*runs: chat_pb2.Usage) -> dict[str, Any]:
    """`usage` of an answer by these runs."""
    prompts = sum(used.prompt_tokens for used in runs)
    completions = sum(used.completion_tokens for used in runs)
    return {
        "prompt_tokens": prompts,
        "completion_tokens": completions,
        "total_tokens": prompts + completions,
        "prompt_tokens_details": {"cached_tokens": sum(used.cached_prompt_tokens for used in runs)},
        "completion_tokens_details": {"reasoning_tokens": sum(used.reasoning_tokens for used in runs)},
    }
