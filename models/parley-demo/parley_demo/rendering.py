"""Dialogues as text, through the chat template that serves them, split into what is learnt and given."""

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import jinja2.sandbox

from parley_demo.dialogue import Call, Dialogue, Message, Request, thought_after

MODEL_FOLDER = Path(__file__).resolve().parent.parent
# Where a training run keeps its checkpoints and logs; git ignores it.
RUN_FOLDER = MODEL_FOLDER.parent.parent / "build" / MODEL_FOLDER.name

# A piece of text and whether the model learns to write it.
Piece = tuple[str, bool]


@cache
def _template() -> jinja2.Template:
    """The committed template, compiled with the settings that transformers and vLLM use."""
    # The text goes to a tokenizer, never to a browser: escaping would corrupt it.
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string((MODEL_FOLDER / "chat_template.jinja").read_text(encoding="utf-8"))


def render(messages: list[Message], tools: tuple[str, ...], prompt: bool, **options: Any) -> str:
    """The template's text for these messages; `prompt` opens the assistant's turn."""
    offered = [{"type": "function", "function": {"name": name}} for name in tools]
    return _template().render(messages=messages, tools=offered, add_generation_prompt=prompt, **options)


def call_message(calls: tuple[Call, ...], reasoning: str | None) -> Message:
    """The assistant's turn that makes these calls."""
    functions = [{"function": {"name": call.name, "arguments": call.arguments}} for call in calls]
    return {"role": "assistant", "content": None, "reasoning": reasoning, "tool_calls": functions}


def turns_of(request: Request, question: str, thinking: bool) -> list[Message]:
    """One request as messages: the question, the calls and results if any, the answer."""
    messages: list[Message] = [{"role": "user", "content": question}]
    thought = request.thought
    if request.calls:
        messages.append(call_message(request.calls, thought if thinking else None))
        messages += [{"role": "tool", "content": call.result} for call in request.calls]
        thought = thought_after(request.calls)
    reasoning = thought if thinking else None
    return [*messages, {"role": "assistant", "content": request.answer, "reasoning": reasoning}]


def messages_of(dialogue: Dialogue, thinking: bool = True) -> list[Message]:
    """The whole dialogue as messages."""
    messages: list[Message] = [{"role": "system", "content": dialogue.system}] if dialogue.system else []
    for request, question in zip(dialogue.requests, dialogue.questions, strict=True):
        messages += turns_of(request, question, thinking)
    return messages


def pieces(dialogue: Dialogue, rng: random.Random) -> list[Piece]:
    """The dialogue as text for training, with or without reasoning in what came before the learnt turn.

    Many end with the calls: they are short, and finding the arguments is what takes most examples.
    """
    ends_early = 0.6 if len(dialogue.last.calls) == 1 else 0.4
    if rng.random() < 0.93:
        return _reasoned(dialogue)[: 2 if rng.random() < ends_early else None]
    return _one_turn(dialogue, rng)


def _reasoned(dialogue: Dialogue) -> list[Piece]:
    """Both turns of the last request are learnt, reasoning included."""
    messages = messages_of(dialogue)
    found: list[Piece] = []
    done = ""
    for at in _last_assistant_turns(dialogue, messages):
        prompt = render(messages[:at], dialogue.offered, True)
        text = render(messages[: at + 1], dialogue.offered, False)
        found += [(prompt[len(done) :], False), (text[len(prompt) :], True)]
        done = text
    return found


def _one_turn(dialogue: Dialogue, rng: random.Random) -> list[Piece]:
    """One turn is learnt after a history that came back without its reasoning, as some clients send it."""
    thinking = rng.random() < 0.5
    bare, full = messages_of(dialogue, thinking=False), messages_of(dialogue)
    at = rng.choice(_last_assistant_turns(dialogue, bare))
    prompt = render(bare[:at], dialogue.offered, True, enable_thinking=thinking)
    opened = render(bare[:at], dialogue.offered, True)
    target = render([*bare[:at], (full if thinking else bare)[at]], dialogue.offered, False)
    return [(prompt, False), (target[len(opened) :], True)]


def _last_assistant_turns(dialogue: Dialogue, messages: list[Message]) -> list[int]:
    """Where the assistant's turns of the last request stand."""
    answer = len(messages) - 1
    return [answer - len(dialogue.last.calls) - 1, answer] if dialogue.last.calls else [answer]
