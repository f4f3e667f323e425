"""Who gets in: tokens, keys, neither."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from collections.abc import Callable

import grpc
import pytest
from joserfc.jwk import ECKey

from parley.auth.v1 import session_service_pb2
from parley.auth.v1.session_service_pb2_grpc import SessionServiceStub
from tests.conftest import AUDIENCE, ISSUER, TokenMaker
from tests.edge.answers import Refused, refusal, refused
from tests.edge.conftest import Mesh
from tests.edge.front import Front
from tests.edge.toys import GOOD_KEY, HUNG_KEY

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

Forge = Callable[[TokenMaker], str]


def _part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _unsigned_part(tokens: TokenMaker, algorithm: str) -> str:
    header = {"alg": algorithm, "typ": "at+jwt", "kid": "test"}
    claims = {"iss": ISSUER, "aud": AUDIENCE, **tokens.principal("*").claims()}
    return f"{_part(json.dumps(header).encode())}.{_part(json.dumps(claims).encode())}"


def _unsigned(tokens: TokenMaker) -> str:
    return f"{_unsigned_part(tokens, 'none')}."


def _signed_with_public_key(tokens: TokenMaker) -> str:
    """HS256 with the published key as the secret, which fools verifiers that believe the header."""
    signed = _unsigned_part(tokens, "HS256")
    signature = hmac.digest(tokens.key.as_pem(private=False), signed.encode(), "sha256")
    return f"{signed}.{_part(signature)}"


def _foreign_key(tokens: TokenMaker) -> str:
    stranger = TokenMaker()
    stranger.key = ECKey.generate_key("P-256", {"kid": "test"})
    return stranger.token(tokens.principal("*"))


def _tampered(tokens: TokenMaker) -> str:
    header, claims, signature = tokens.token(tokens.principal("tools.list")).split(".")
    body = json.loads(base64.urlsafe_b64decode(claims + "=="))
    body["scope"] = "*"
    return f"{header}.{_part(json.dumps(body).encode())}.{signature}"


FORGERIES: dict[str, tuple[Forge, str]] = {
    "expired": (lambda tokens: tokens.token(tokens.principal("*"), exp=1_000_000_000), "TOKEN_EXPIRED"),
    "without expiry": (lambda tokens: tokens.token(tokens.principal("*"), exp=None), "TOKEN_INVALID"),
    "other audience": (lambda tokens: tokens.token(tokens.principal("*"), aud="other"), "TOKEN_INVALID"),
    "other issuer": (lambda tokens: tokens.token(tokens.principal("*"), iss="other"), "TOKEN_INVALID"),
    "not yet": (lambda tokens: tokens.token(tokens.principal("*"), nbf=4_000_000_000), "TOKEN_INVALID"),
    "unknown key": (
        lambda tokens: tokens.token(tokens.principal("*"), header={"kid": "other"}),
        "TOKEN_INVALID",
    ),
    "alg none": (_unsigned, "TOKEN_INVALID"),
    "HS256 with the public key": (_signed_with_public_key, "TOKEN_INVALID"),
    "signed by a stranger": (_foreign_key, "TOKEN_INVALID"),
    "tampered": (_tampered, "TOKEN_INVALID"),
    "no token at all": (lambda _tokens: "nonsense", "TOKEN_INVALID"),
}


async def who(edge: Front, *metadata: tuple[str, str]) -> session_service_pb2.WhoAmIResponse:
    """Ask over gRPC who the caller is."""
    async with edge.channel() as channel:
        stub = SessionServiceStub(channel)
        return await stub.WhoAmI(session_service_pb2.WhoAmIRequest(), metadata=metadata, timeout=10)


async def refused_both_ways(edge: Front, headers: dict[str, str]) -> tuple[int, Refused]:
    """The refusal over JSON with its HTTP status; the same must come over gRPC."""
    told = await refused(who(edge, *headers.items()))
    async with edge.http() as client:
        answer = await client.get("/api/v1/me", headers=headers)
    assert refusal(answer) == told
    return answer.status_code, told


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_token_is_refused_before_the_service(
    edge: Front, mesh: Mesh, tokens: TokenMaker, name: str
) -> None:
    forge, reason = FORGERIES[name]
    before = mesh.seen["auth"].calls
    status, told = await refused_both_ways(edge, {"authorization": f"Bearer {forge(tokens)}"})
    assert (status, told.code, told.reason) == (401, 16, reason)
    assert mesh.seen["auth"].calls == before


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Basic YWRhOnNlY3JldA=="}, {"authorization": ""}, {"x-parley-key": GOOD_KEY}],
    ids=["nothing", "another scheme", "empty", "the inner key header"],
)
async def test_without_credentials_nobody_gets_in(edge: Front, headers: dict[str, str]) -> None:
    status, told = await refused_both_ways(edge, headers)
    assert (status, told.code, told.reason) == (401, 16, "TOKEN_MISSING")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_good_token_gets_in(edge: Front, tokens: TokenMaker, scheme: str) -> None:
    answer = await who(edge, ("authorization", f"{scheme} {tokens.token(tokens.principal('*'))}"))
    assert answer.username == "ada"


async def test_a_token_in_the_query_is_none_and_is_not_logged(edge: Front, tokens: TokenMaker) -> None:
    token = tokens.token(tokens.principal("*"))
    async with edge.http() as client:
        answer = await client.get(f"/api/v1/me?access_token={token}")
    assert answer.status_code in (400, 401)
    assert token not in edge.log


async def test_two_tokens_identify_nobody(edge: Front, tokens: TokenMaker) -> None:
    token = dict(tokens.metadata("*"))["authorization"]
    async with edge.http() as client:
        answer = await client.get("/api/v1/me", headers=[("authorization", token), ("authorization", token)])
    assert (answer.status_code, refusal(answer).reason) == (401, "TOKEN_MISSING")


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {GOOD_KEY}"},
        {"authorization": f"bearer {GOOD_KEY}"},
        {"x-api-key": GOOD_KEY},
        {"x-api-key": GOOD_KEY, "authorization": "Bearer nonsense"},
    ],
    ids=["as OpenAI clients send it", "lower case", "in its own header", "beside a token"],
)
async def test_a_key_is_exchanged_for_a_token(edge: Front, mesh: Mesh, headers: dict[str, str]) -> None:
    answer = await who(edge, *headers.items())
    assert (answer.username, answer.key_id) == ("keyholder", "key-1")
    seen = mesh.seen["auth"]
    assert seen.header("x-parley-key") is None
    assert seen.header("x-api-key") is None
    assert GOOD_KEY not in str(seen.metadata)


async def test_a_key_works_for_json(edge: Front) -> None:
    async with edge.http() as client:
        answer = await client.get("/api/v1/me", headers={"authorization": f"Bearer {GOOD_KEY}"})
    assert answer.json() == {"username": "keyholder", "keyId": "key-1"}


async def test_little_more_than_the_key_is_shown_to_the_exchange(edge: Front, mesh: Mesh) -> None:
    await who(edge, ("x-api-key", GOOD_KEY), ("cookie", "session=secret"), ("x-forwarded-for", "192.0.2.7"))
    assert set(mesh.exchange.asked) == {"x-parley-key", "x-request-id", "x-parley-client-address"}
    assert mesh.exchange.asked["x-parley-client-address"] == "127.0.0.1"
    assert mesh.exchange.path == "/parley.auth.v1.SessionService/WhoAmI"


@pytest.mark.parametrize("key", ["parley_unknown", "parley_"])
async def test_an_unknown_key_is_refused(edge: Front, key: str) -> None:
    status, told = await refused_both_ways(edge, {"authorization": f"Bearer {key}"})
    assert (status, told.code, told.reason) == (401, 16, "KEY_INVALID")


async def test_a_hanging_exchange_refuses(edge: Front) -> None:
    status, told = await refused_both_ways(edge, {"x-api-key": HUNG_KEY})
    assert (status, told.code, told.reason) == (503, 14, "DEPENDENCY_UNAVAILABLE")


async def test_a_token_never_bothers_the_exchange(edge: Front, mesh: Mesh, tokens: TokenMaker) -> None:
    before = mesh.exchange.seen.calls
    await who(edge, *tokens.metadata("*"))
    await refused(who(edge, ("authorization", "Bearer nonsense")))
    assert mesh.exchange.seen.calls == before


async def test_a_method_without_token_never_bothers_the_exchange(edge: Front, mesh: Mesh) -> None:
    before = mesh.exchange.seen.calls
    async with edge.channel() as channel:
        request = session_service_pb2.LoginRequest(username="ada", password="none")
        metadata = (("x-api-key", "parley_unknown"),)
        await SessionServiceStub(channel).Login(request, metadata=metadata, timeout=10)
    assert mesh.exchange.seen.calls == before
    assert mesh.seen["auth"].header("x-parley-key") is None


async def test_a_refusal_does_not_wait_for_the_body(edge: Front) -> None:
    reader, writer = await asyncio.open_connection(*edge.address.split(":"), ssl=edge.tls())
    writer.write(b"POST /api/v1/chat HTTP/1.1\r\nhost: edge\r\ncontent-length: 1000\r\n\r\n{")
    status = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    assert status.startswith(b"HTTP/1.1 401")


async def test_the_log_names_the_caller_and_no_secret(edge: Front, tokens: TokenMaker) -> None:
    token = tokens.token(tokens.principal("*"))
    async with edge.http() as client:
        answer = await client.get("/api/v1/tools?page_size=7", headers={"authorization": f"Bearer {token}"})
        await client.get("/api/v1/me", headers={"authorization": f"Bearer {GOOD_KEY}"})
    entry = await edge.logged(answer.headers["x-request-id"])
    assert entry["path"] == "/api/v1/tools"
    assert entry["method"] == "/parley.tools.v1.ToolService/ListTools"
    assert (entry["user_id"], entry["tenant_id"], entry["status"]) == ("user-1", "tenant-1", 200)
    assert token not in edge.log
    assert GOOD_KEY not in edge.log


async def test_grpc_codes_are_what_libraries_expect(edge: Front) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await who(edge)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
