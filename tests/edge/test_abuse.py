"""What callers may not do: forge identities, call from foreign pages, send what is no request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.conftest import TokenMaker
from tests.edge.answers import refusal
from tests.edge.conftest import Mesh
from tests.edge.front import Front
from tests.edge.test_calls import question

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

FORGED_HEADERS = [
    "x-parley-user-id",
    "X-Parley-User-Id",
    "X-PARLEY-TENANT",
    "x-Parley-Client-Address",
    "x-parley-",
    "x_parley_user_id",
    "X-Envoy-Original-Path",
    "x-envoy-internal",
    "x-envoy-upstream-rq-timeout-ms",
    "X-Forwarded-Client-Cert",
    "x-forwarded-for",
    "traceparent",
    "tracestate",
]


async def exchange(edge: Front, request: bytes) -> bytes:
    """Send bytes as they are over TLS and HTTP/1.1, and read until the edge closes."""
    reader, writer = await asyncio.open_connection(*edge.address.split(":"), ssl=edge.tls())
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


@pytest.mark.parametrize("name", FORGED_HEADERS)
async def test_a_forged_identity_header_does_not_arrive(
    edge: Front, mesh: Mesh, tokens: TokenMaker, name: str
) -> None:
    token = dict(tokens.metadata("*"))["authorization"]
    head = f"GET /api/v1/me HTTP/1.1\r\nhost: edge\r\nconnection: close\r\nauthorization: {token}\r\n"
    answer = await exchange(edge, f"{head}{name}: forged\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200")
    assert "forged" not in str(mesh.seen["auth"].metadata)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "https://app.example.evil", "http://app.example"]
)
@pytest.mark.parametrize("content_type", ["application/json", "application/grpc-web+proto", "text/plain"])
async def test_a_foreign_page_executes_nothing(
    edge: Front, mesh: Mesh, tokens: TokenMaker, origin: str, content_type: str
) -> None:
    before = mesh.seen["demo"].calls
    headers = {**dict(tokens.metadata("*")), "origin": origin, "content-type": content_type}
    async with edge.http() as client:
        answers = [
            await client.post("/api/v1/chat", json=question("a"), headers=headers),
            await client.post("/parley.inference.v1.InferenceService/Chat", content=b"", headers=headers),
            await client.options(
                "/api/v1/chat", headers={**headers, "access-control-request-method": "POST"}
            ),
        ]
    assert [answer.status_code for answer in answers] == [403, 403, 403]
    assert refusal(answers[0]).code == 7
    assert not any("access-control-allow-origin" in answer.headers for answer in answers)
    assert mesh.seen["demo"].calls == before


async def test_a_listed_page_and_the_edge_s_own_may_call(edge: Front, tokens: TokenMaker) -> None:
    port = edge.address.rpartition(":")[2]
    for origin in ("https://app.example", f"https://127.0.0.1:{port}", f"https://localhost:{port}"):
        headers = {**dict(tokens.metadata("*")), "origin": origin}
        async with edge.http() as client:
            answer = await client.get("/api/v1/me", headers=headers)
            refused = await client.get("/api/v1/me", headers={"origin": origin})
            asked = {"origin": origin, "access-control-request-method": "POST"}
            preflight = await client.options("/api/v1/chat", headers=asked)
        assert answer.status_code == 200
        allowed = [one.headers["access-control-allow-origin"] for one in (answer, refused, preflight)]
        assert allowed == [origin] * 3
        assert "authorization" in preflight.headers["access-control-allow-headers"]


async def test_a_body_that_says_it_is_too_large_is_refused_at_once(edge: Front) -> None:
    head = (
        b"POST /api/v1/chat HTTP/1.1\r\nhost: edge\r\nconnection: close\r\ncontent-length: 99999999\r\n\r\n"
    )
    answer = await exchange(edge, head)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"reason":"INVALID_REQUEST"' in answer


@pytest.mark.parametrize("sized", [True, False], ids=["sized", "chunked"])
async def test_a_large_body_is_refused(edge: Front, mesh: Mesh, tokens: TokenMaker, sized: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 2**17

    before = mesh.seen["demo"].calls
    headers = {**dict(tokens.metadata("*")), "content-type": "application/json"}
    content = b" " * (20 * 2**17) if sized else chunks()
    async with edge.http() as client:
        answer = await client.post("/api/v1/chat", content=content, headers=headers)
    assert (answer.status_code, refusal(answer).reason) == (413, "INVALID_REQUEST")
    assert mesh.seen["demo"].calls == before


async def test_a_chunked_body_within_the_limit_is_taken(edge: Front, tokens: TokenMaker) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"messages":[{"role":"ROLE_USER",'
        yield b'"content":[{"text":"a"}]}]}'

    headers = {**dict(tokens.metadata("*")), "content-type": "application/json"}
    async with edge.http() as client:
        answer = await client.post("/api/v1/chat", content=chunks(), headers=headers)
    assert answer.status_code == 200


BAD_BODIES = {
    "invalid UTF-8": b'{"messages":[{"role":"ROLE_USER","content":[{"text":"\xff\xfe"}]}]}',
    "overlong UTF-8": b'{"messages":[{"role":"ROLE_USER","content":[{"text":"\xc0\xaf"}]}]}',
    "half a character": b'{"messages":[{"role":"ROLE_USER","content":[{"text":"\xe2\x82"}]}]}',
    "half an object": b'{"messages":[',
    "no JSON": b"hello",
    "a list": b"[]",
    "NaN": b'{"sampling":{"temperature":NaN}}',
    "the wrong type": b'{"messages":"all of them"}',
    "an unknown enum value": b'{"messages":[{"role":"ROLE_NOBODY"}]}',
    "too deep": b'{"messages":' * 200 + b"1" + b"}" * 200,
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_bad_body_is_the_caller_s_fault(edge: Front, tokens: TokenMaker, name: str) -> None:
    headers = {**dict(tokens.metadata("*")), "content-type": "application/json"}
    async with edge.http() as client:
        answer = await client.post("/api/v1/chat", content=BAD_BODIES[name], headers=headers)
        after = await client.get("/api/v1/me", headers=headers)
    assert (answer.status_code, refusal(answer).code, refusal(answer).reason) == (400, 3, "INVALID_REQUEST")
    assert after.status_code == 200


async def test_an_unknown_query_parameter_is_named(edge: Front, tokens: TokenMaker) -> None:
    async with edge.http() as client:
        answer = await client.get("/api/v1/models?pagesize=1", headers=dict(tokens.metadata("*")))
    assert (answer.status_code, "pagesize" in refusal(answer).message) == (400, True)


@pytest.mark.parametrize(
    "path",
    [
        "//api/v1/me",
        "/api/v1/./me",
        "/x/../api/v1/me",
        "/api/v1/%6de",
        "/api/v1/me/",
        "/API/v1/me",
        "/api/v1/me;a",
    ],
)
async def test_no_spelling_of_a_path_goes_round_the_token_check(edge: Front, mesh: Mesh, path: str) -> None:
    before = mesh.seen["auth"].calls
    answer = await exchange(edge, f"GET {path} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\r\n".encode())
    assert answer.split(b" ", 2)[1] in (b"401", b"404")
    assert mesh.seen["auth"].calls == before


async def test_plain_http_gets_nothing(edge: Front) -> None:
    reader, writer = await asyncio.open_connection(*edge.address.split(":"))
    writer.write(b"GET /api/v1/me HTTP/1.1\r\nhost: edge\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert answer == b""
