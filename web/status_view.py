"""The line under the chat: whether the model can answer, and what the last answer took."""

from __future__ import annotations

from html import escape

from parley.inference.v1 import model_pb2
from web.answer import Answer
from web.card import seconds

_STATES = {
    model_pb2.MODEL_STATE_READY: ("ready", "ready"),
    model_pb2.MODEL_STATE_LOADING: ("loading", "loading"),
    model_pb2.MODEL_STATE_FAILED: ("failed", "coming back after a failure"),
}


def status_line(model: model_pb2.Model | None, answer: Answer | None) -> str:
    """The model's state and the figures of the last answer."""
    items = [_model(model), *(_figures(answer) if answer is not None else [])]
    return '<div class="p-status" role="status">' + "".join(items) + "</div>"


def _model(model: model_pb2.Model | None) -> str:
    if model is None:
        return '<span><span class="p-dot p-failed"></span>no model</span>'
    kind, state = _STATES.get(model.state, ("failed", "in an unknown state"))
    context = f" · {model.context_length:,} tokens of context" if model.context_length else ""
    return f'<span><span class="p-dot p-{kind}"></span>{escape(model.name)} is {state}{context}</span>'


def _figures(answer: Answer) -> list[str]:
    """Tokens, speed and time to the first token, as far as they are known."""
    pace, usage = answer.pace, answer.usage
    figures = []
    if usage is not None:
        cached = f" ({usage.cached_prompt_tokens:,} cached)" if usage.cached_prompt_tokens else ""
        figures.append(f"{usage.prompt_tokens:,} tokens in{cached}")
        figures.append(f"{usage.completion_tokens:,} out")
        if pace.talking_seconds > 0:
            figures.append(f"{usage.completion_tokens / pace.talking_seconds:,.0f} tokens/s")
    if pace.first_at is not None:
        figures.append(f"first token after {seconds(pace.first_at - pace.asked_at)}")
    return [f"<span>{figure}</span>" for figure in figures]
