"""OpenAI's official client against the whole platform: a key, the real engine, the real tools."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from tests.platform import Stack

pytestmark = pytest.mark.slow

QUESTION: Any = [{"role": "user", "content": "What is 1234 * 56?"}]
TOOLS = {"parley": {"server_tools": {"names": ["calculator"]}}}


@pytest.fixture
async def openai(stack: Stack, key: str) -> AsyncIterator[AsyncOpenAI]:
    trust = ssl.create_default_context(cadata=stack.authority.decode())
    http = DefaultAsyncHttpxClient(verify=trust)
    base = f"https://{stack.address}/v1"
    async with AsyncOpenAI(base_url=base, api_key=key, http_client=http, max_retries=0) as client:
        yield client


async def test_a_question_is_answered_with_the_platforms_calculator(openai: AsyncOpenAI) -> None:
    [model] = [each.id async for each in openai.models.list()]
    answer = await openai.chat.completions.create(
        model=model, messages=QUESTION, temperature=0, extra_body=TOOLS
    )
    assert "69104" in (answer.choices[0].message.content or "").replace(",", "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


async def test_a_text_goes_on(openai: AsyncOpenAI) -> None:
    [model] = [each.id async for each in openai.models.list()]
    answer = await openai.completions.create(model=model, prompt="1, 2, 3,", max_tokens=4, echo=True)
    assert answer.choices[0].text.startswith("1, 2, 3,")
    assert answer.choices[0].finish_reason in ("stop", "length")
