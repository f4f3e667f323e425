"""What `parley bench` asks."""

from __future__ import annotations

from parley_client.client import Client, question

LONG_TOKENS = 6000
PROBED_QUESTIONS = 16


def bench_question(number: int) -> str:
    """The question of a stream: each its own, so that no stream profits from another's prefix."""
    return f"Number {number} asks: what can you tell me about {number * 7919 % 1000}?"


async def long_questions(client: Client) -> int:
    """How many questions make a prompt that takes long to read: three quarters of the context."""
    (model, *_) = await client.list_models()
    async with client.chat(question(long_text(0, PROBED_QUESTIONS), all_tools=False)) as events:
        tokens = (await anext(events)).started.prompt_tokens
    wanted = min(model.context_length * 3 // 4, LONG_TOKENS)
    return max(1, wanted * PROBED_QUESTIONS // tokens)


def long_text(number: int, questions: int) -> str:
    """So many questions in one: their numbers do not change its length, and none begins like another."""
    return " ".join(bench_question(10_000 + 50 * (number % 1000) + each) for each in range(questions))
