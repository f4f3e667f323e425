"""What OpenAI's clients read when something is refused: the right exception, and why."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from openai import (
    APIError,
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
)

from services.inference.errors import EngineFailed
from services.inference.reading.step import ContentDelta
from services.ledger.limits import Terms
from tests.edge.openai.conftest import MARKS, MAX_BODY_BYTES, MODEL, Surface
from tests.inference.endless import terms
from tests.inference.scripted import says

pytestmark = MARKS

CHAT = "/v1/chat/completions"
QUESTION: Any = [{"role": "user", "content": "Hello?"}]
GOOD = {"model": MODEL, "messages": QUESTION}


def error(answer: httpx.Response) -> dict[str, Any]:
    """The error of a body, always of OpenAI's shape."""
    assert answer.headers["content-type"] == "application/json", answer.text
    assert int(answer.headers["content-length"]) == len(answer.content)
    body = answer.json()
    assert set(body) == {"error"}, body
    assert set(body["error"]) == {"message", "type", "param", "code"}, body
    return dict(body["error"])


async def gather(stream: AsyncIterator[Any], said: list[str]) -> None:
    """Keep what a stream says, up to its end or its error."""
    async for chunk in stream:
        said += [chunk.choices[0].delta.content or ""]


async def test_an_unknown_model_is_not_found_and_told_what_exists(client: AsyncOpenAI) -> None:
    with pytest.raises(NotFoundError) as caught:
        await client.chat.completions.create(model='no "such" model', messages=QUESTION)
    refused = caught.value
    assert (refused.code, refused.param, refused.type) == (
        "model_not_found",
        "model",
        "invalid_request_error",
    )
    assert MODEL in refused.message
    assert '"such"' in refused.message or "'no \"such\" model'" in refused.message


async def test_a_bad_key_identifies_nobody(surface: Surface) -> None:
    async with surface.client("parley_bad") as stranger:
        with pytest.raises(AuthenticationError) as caught:
            await stranger.models.list()
    assert caught.value.type == "authentication_error"


async def test_no_key_and_a_forged_one(surface: Surface) -> None:
    async with surface.edge.http() as http:
        without = await http.post(CHAT, json=GOOD)
        forged = await http.post(CHAT, json=GOOD, headers={"authorization": "Bearer sk-forged"})
    for answer in (without, forged):
        assert answer.status_code == 401
        assert error(answer)["code"] == "invalid_api_key"


async def test_a_caller_without_the_permission(surface: Surface) -> None:
    token = surface.tokens.token(surface.tokens.principal("inference.models"))
    async with surface.client(token) as caller:
        with pytest.raises(PermissionDeniedError) as caught:
            await caller.chat.completions.create(model=MODEL, messages=QUESTION)
    assert (caught.value.code, caught.value.type) == ("permission_missing", "permission_error")


async def test_a_caller_without_budget(surface: Surface, client: AsyncOpenAI) -> None:
    surface.limits.held_to = terms("openai", requests_per_minute=1)
    try:
        await client.chat.completions.create(model=MODEL, messages=QUESTION)
        with pytest.raises(RateLimitError) as caught:
            await client.chat.completions.create(model=MODEL, messages=QUESTION)
    finally:
        surface.limits.held_to = Terms()
    assert caught.value.code == "rate_limit_exceeded"
    assert int(caught.value.response.headers["retry-after"]) >= 1


async def test_a_prompt_that_does_not_fit(surface: Surface, client: AsyncOpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        await client.chat.completions.create(model=MODEL, messages=QUESTION, max_completion_tokens=5000)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")


async def test_an_engine_that_fails_is_told_in_place_or_in_the_stream(
    surface: Surface, client: AsyncOpenAI
) -> None:
    broken = [ContentDelta("One "), EngineFailed(MODEL)]
    surface.script(broken, broken)
    answer = await surface.post(CHAT, json.dumps(GOOD))
    assert (answer.status_code, error(answer)["code"]) == (503, "engine_failed")
    stream = await client.chat.completions.create(**GOOD, stream=True)
    said: list[str] = []
    with pytest.raises(APIError) as caught:
        await gather(stream, said)
    assert "".join(said) == "One "
    assert (caught.value.code, caught.value.type) == ("engine_failed", "server_error")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "null",
        "[]",
        '"text"',
        "[" * 5000,
        '{"model": NaN}',
        '{"model": "a", "model": "b"}',
        '{"model": "\\ud800"}',
        b'{"model": "\xff"}',
        '{"messages": [' + "{}," * 200_000 + "{}]}",
    ],
    ids=["empty", "half", "null", "list", "text", "deep", "nan", "twice", "surrogate", "bytes", "many"],
)
async def test_a_body_that_is_no_json_object_is_refused(surface: Surface, body: bytes | str) -> None:
    answer = await surface.post(CHAT, body)
    assert answer.status_code == 400, answer.text
    assert error(answer)["code"] == "body_invalid"


@pytest.mark.parametrize(
    ("change", "parameter", "code"),
    [
        ({"messages": None}, "messages", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": "Hello?"}, "messages", "invalid_value"),
        ({"messages": [1]}, "messages[0]", "invalid_value"),
        ({"messages": QUESTION * 4097}, "messages", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0]", "invalid_value"),
        ({"messages": [{"role": "oracle", "content": "x"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user", "content": [1]}]}, "messages[0]", "invalid_value"),
        ({"messages": [{"role": "user", "content": {"a": 1}}]}, "messages[0]", "invalid_value"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}],
                    }
                ]
            },
            "messages[0].content[0].type",
            "unsupported_parameter",
        ),
        ({"temperature": 2.5}, "temperature", "invalid_value"),
        ({"temperature": "hot"}, "temperature", "invalid_value"),
        ({"temperature": 1e39}, "temperature", "invalid_value"),
        ({"top_p": 0}, "top_p", "invalid_value"),
        ({"top_k": -1}, "top_k", "invalid_value"),
        ({"seed": 2**64}, "seed", "invalid_value"),
        ({"max_tokens": 0}, "max_completion_tokens", "invalid_value"),
        ({"max_completion_tokens": 10**20}, "max_completion_tokens", "invalid_value"),
        ({"stop": [""]}, "stop[0]", "invalid_value"),
        ({"stop": 5}, "stop", "invalid_value"),
        ({"model": 5}, "model", "invalid_value"),
        ({"stream": "perhaps"}, "stream", "invalid_value"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ({"tools": []}, "tools", "invalid_value"),
        ({"tools": [5]}, "tools[0]", "invalid_value"),
        (
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            "tools[0].function.name",
            "invalid_value",
        ),
        ({"tool_choice": {"function": 5}, "tools": [5]}, "tool_choice.function", "invalid_value"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"n": 17}, "n", "invalid_value"),
        ({"presence_penalty": -2.5}, "presence_penalty", "invalid_value"),
        ({"logit_bias": {"x": 1}}, "logit_bias", "invalid_value"),
        ({"logit_bias": {"-1": 1}}, "logit_bias", "invalid_value"),
        ({"logit_bias": {"1": 101}}, "logit_bias[1]", "invalid_value"),
        ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"logprobs": True, "top_logprobs": -1}, "top_logprobs", "invalid_value"),
        ({"min_tokens": 5, "max_tokens": 4}, "min_tokens", "invalid_value"),
        ({"reasoning_effort": "max"}, "reasoning_effort", "unsupported_parameter"),
        ({"reasoning_effort": "huge"}, "reasoning_effort", "invalid_value"),
        ({"response_format": {"type": "yaml"}}, "response_format", "invalid_value"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "invalid_value"),
        ({"structured_outputs": {"regex": "\0"}}, "response_format", "invalid_value"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "request", "invalid_value"),
        ({"parley": 5}, "parley", "invalid_value"),
        ({"parley": {"server_tools": {"names": 5}}}, "parley", "invalid_value"),
        ({"parley": {"sampling": {}}}, "parley.sampling", "unsupported_parameter"),
        ({"parley": {"limits": {"max_tool_rounds": 99}}}, "parley.limits.max_tool_rounds", "invalid_value"),
        ({"chat_template": "{{ x }}"}, "chat_template", "unsupported_parameter"),
        ({"chat_template_kwargs": 5}, "chat_template_kwargs", "invalid_value"),
        ({"chat_template_kwargs": {"today": "x"}}, "chat_template_kwargs.today", "unsupported_parameter"),
        ({"chat_template_kwargs": {"thinking": "x"}}, "chat_template_kwargs.thinking", "invalid_value"),
        (
            {"chat_template_kwargs": {"thinking": True, "enable_thinking": False}},
            "chat_template_kwargs.enable_thinking",
            "invalid_value",
        ),
        (
            {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "low"},
            "reasoning_effort",
            "invalid_value",
        ),
        ({"made_up": 1}, "made_up", "unsupported_parameter"),
        ({"audio": {}}, "audio", "unsupported_parameter"),
    ],
)
async def test_a_field_with_a_bad_value_is_named(
    surface: Surface, change: dict[str, Any], parameter: str, code: str
) -> None:
    answer = await surface.post(CHAT, json.dumps({**GOOD, **change}))
    assert answer.status_code == 400, answer.text
    told = error(answer)
    assert (told["param"], told["code"]) == (parameter, code), told


async def test_what_changes_no_answer_is_passed_over(surface: Surface, client: AsyncOpenAI) -> None:
    surface.script(says("Hi."))
    answer = await client.chat.completions.create(
        model=MODEL, messages=QUESTION, user="ada", metadata={"a": "b"}, n=1, store=False, top_p=None
    )
    assert answer.choices[0].message.content == "Hi."


async def test_a_body_that_is_too_large_is_refused_by_its_size(surface: Surface) -> None:
    large = json.dumps({**GOOD, "user": "x" * MAX_BODY_BYTES})
    answer = await surface.post(CHAT, large)
    assert (answer.status_code, error(answer)["type"]) == (413, "invalid_request_error")


async def test_a_path_that_is_not_served(surface: Surface) -> None:
    answer = await surface.post("/v1/audio/speech", "{}")
    assert (answer.status_code, error(answer)["code"]) == (404, "method_unknown")


async def test_pages_of_other_origins_are_kept_out(surface: Surface) -> None:
    answer = await surface.post(CHAT, json.dumps(GOOD), origin="https://evil.example")
    assert (answer.status_code, error(answer)["type"]) == (403, "permission_error")
