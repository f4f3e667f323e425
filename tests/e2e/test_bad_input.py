"""Bad input gets a clear, typed error at the front door, and the next call is served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from parley.inference.v1 import chat_pb2
from parley_client.client import Client, question, user_message
from parley_client.credentials import ApiKey, Tokens
from parley_client.errors import ParleyError
from tests.edge.front import eventually
from tests.platform import Stack, error_body

pytestmark = pytest.mark.slow

INVALID = grpc.StatusCode.INVALID_ARGUMENT
HUGE = "x" * (4 * 2**20)


def request(**fields: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(**{"messages": [user_message("Hello!")], **fields})


BAD_CHATS: dict[str, tuple[Callable[[], chat_pb2.ChatRequest], grpc.StatusCode, str]] = {
    "unknown model": (lambda: question("Hi", model="nobody"), grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"),
    "no messages": (lambda: request(messages=[]), INVALID, "INVALID_REQUEST"),
    "a 10 MB prompt": (
        lambda: request(messages=[user_message(HUGE), user_message(HUGE), user_message(HUGE[: 2 * 2**20])]),
        INVALID,
        "CONTEXT_OVERFLOW",
    ),
    "a million tiny messages": (
        lambda: chat_pb2.ChatRequest.FromString(b"\x12\x00" * 1_000_000),
        INVALID,
        "INVALID_REQUEST",
    ),
    "a field out of range": (lambda: request(sampling={"temperature": 3}), INVALID, "INVALID_REQUEST"),
    "an unspecified role": (lambda: request(messages=[{}]), INVALID, "INVALID_REQUEST"),
    "an unknown tool": (
        lambda: request(server_tools={"names": ["teleport"]}),
        grpc.StatusCode.NOT_FOUND,
        "TOOL_NOT_OFFERED",
    ),
}


@pytest.mark.parametrize("name", list(BAD_CHATS))
async def test_a_bad_chat_is_refused_and_the_next_is_served(program: Client, name: str) -> None:
    make, code, reason = BAD_CHATS[name]
    with pytest.raises(ParleyError) as caught:
        async with program.chat(make(), timeout_seconds=60) as events:
            [event async for event in events]
    assert (caught.value.code, caught.value.reason) == (code, reason)
    async with program.chat(request(), timeout_seconds=60) as events:
        assert [event async for event in events][-1].finished.reason == chat_pb2.FINISH_REASON_STOP


async def test_an_unknown_model_is_told_what_exists(program: Client) -> None:
    with pytest.raises(ParleyError) as caught:
        async with program.chat(question("Hi", model="nobody")) as events:
            [event async for event in events]
    known = [model.name for model in await program.list_models()]
    assert caught.value.metadata == {"model": "nobody", "available": ",".join(known)}


BAD_TOOLS = {
    "unknown tool": ("calculatr", "{}", grpc.StatusCode.NOT_FOUND, "TOOL_NOT_FOUND"),
    "arguments that are no JSON": ("calculator", "{17 * 23", INVALID, "INVALID_ARGUMENTS"),
    "arguments of the wrong shape": ("calculator", '{"expression": 5}', INVALID, "INVALID_ARGUMENTS"),
    "a tool that fails": ("calculator", '{"expression": "1 / 0"}', INVALID, "EXPRESSION_INVALID"),
    "a way out of the workspace": (
        "file_read",
        '{"file_path": "../../auth/admin-password"}',
        grpc.StatusCode.PERMISSION_DENIED,
        "PATH_NOT_ALLOWED",
    ),
}


@pytest.mark.parametrize("name", list(BAD_TOOLS))
async def test_a_bad_tool_call_is_refused_and_the_next_is_served(program: Client, name: str) -> None:
    tool, arguments, code, reason = BAD_TOOLS[name]
    with pytest.raises(ParleyError) as caught:
        async with program.execute(tool, arguments) as events:
            [event async for event in events]
    assert (caught.value.code, caught.value.reason) == (code, reason)
    async with program.execute("calculator", '{"expression": "1 + 1"}') as events:
        assert [event async for event in events][-1].result.content == '{"expression":"1 + 1","result":2}'


async def test_invalid_utf_8_in_json_is_a_bad_request(stack: Stack, key: str) -> None:
    headers = {"x-api-key": key, "content-type": "application/json"}
    async with stack.http() as http:
        answer = await http.post(
            "/api/v1/sessions:login", content=b'{"username": "\xff\xfe"}', headers=headers
        )
        chat = await http.post("/api/v1/chat", content=b'{"model": "\xff"}', headers=headers)
    assert (answer.status_code, chat.status_code) == (400, 400)
    assert "\ufffd" not in answer.text


async def test_malformed_json_is_a_bad_request(stack: Stack, key: str) -> None:
    headers = {"x-api-key": key, "content-type": "application/json"}
    async with stack.http() as http:
        answer = await http.post("/api/v1/chat", content=b'{"messages": [', headers=headers)
    assert answer.status_code == 400


async def test_a_field_out_of_range_is_explained_in_json_too(stack: Stack, key: str) -> None:
    body = {
        "messages": [{"role": "ROLE_USER", "content": [{"text": "Hi"}]}],
        "sampling": {"temperature": 9},
    }
    async with stack.http() as http:
        answer = await http.post("/api/v1/chat", json=body, headers={"x-api-key": key})
    assert error_body(answer) == (400, "INVALID_REQUEST")
    assert "sampling.temperature" in answer.text


def forged(token: str) -> dict[str, str]:
    head, body, signature = token.split(".")
    none = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0"
    return {
        "tampered": f"{head}.{body[:-3]}AAA.{signature}",
        "without a signature": f"{head}.{body}.",
        "alg none": f"{none}.{body}.",
        "no token at all": "x",
        "a key nobody made": "parley_abcdefgh_" + "a" * 43,
    }


@pytest.mark.parametrize("name", list(forged("a.b.c")))
async def test_a_forged_credential_opens_nothing(stack: Stack, name: str) -> None:
    async with stack.client() as client:
        tokens: Tokens = await client.login("admin", stack.password)
        client.credentials = ApiKey(tokens.access_token)
        assert (await client.who_am_i()).username == "admin"
        client.credentials = ApiKey(forged(tokens.access_token)[name])
        with pytest.raises(ParleyError) as caught:
            await client.list_models()
    assert caught.value.code is grpc.StatusCode.UNAUTHENTICATED


async def test_without_a_credential_nothing_opens(stack: Stack) -> None:
    async with stack.client() as client:
        with pytest.raises(ParleyError) as caught:
            await client.list_models()
    async with stack.http() as http:
        answer = await http.get("/api/v1/models")
    assert caught.value.code is grpc.StatusCode.UNAUTHENTICATED
    assert answer.status_code == 401


async def test_a_wrong_password_tells_nothing(stack: Stack) -> None:
    async with stack.client() as client:
        with pytest.raises(ParleyError) as wrong:
            await client.login("someone", "wrong")
    assert (wrong.value.code, wrong.value.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID")


async def test_a_revoked_key_is_refused_within_a_second(stack: Stack, admin: Client) -> None:
    made = await admin.create_key("short-lived")
    async with stack.client(ApiKey(made.secret)) as program:
        assert await program.list_models()
        await admin.revoke_key(made.key.key_id)

        async def refused() -> ParleyError | None:
            try:
                await program.list_models()
            except ParleyError as error:
                return error
            return None

        # The promise is a second; how long a busy machine takes for it is not what this tells.
        error = await eventually(refused)
    assert error.code is grpc.StatusCode.UNAUTHENTICATED


async def test_a_key_with_few_scopes_may_do_no_more(stack: Stack, admin: Client) -> None:
    made = await admin.create_key("models only", scopes=["inference.models", "models.*"])
    async with stack.client(ApiKey(made.secret)) as program:
        assert await program.list_models()
        with pytest.raises(ParleyError) as caught:
            await program.list_tools()
    await admin.revoke_key(made.key.key_id)
    assert (caught.value.code, caught.value.reason) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "PERMISSION_MISSING",
    )


@pytest.mark.parametrize(
    "header", ["x-parley-key", "X-Parley-Principal", "x-forwarded-client-cert", "X-User-Id"]
)
async def test_a_forged_identity_header_gives_nothing(stack: Stack, header: str) -> None:
    async with stack.http() as http:
        answer = await http.get("/api/v1/models", headers={header: "admin"})
    assert answer.status_code == 401


async def test_a_disallowed_origin_does_not_execute(stack: Stack, key: str) -> None:
    headers = {"x-api-key": key, "origin": "https://evil.example"}
    async with stack.http() as http:
        refused = await http.post("/api/v1/keys", json={"name": "from elsewhere"}, headers=headers)
        listed = await http.get("/api/v1/keys", headers={"x-api-key": key})
    assert refused.status_code == 403
    assert "from elsewhere" not in listed.text
