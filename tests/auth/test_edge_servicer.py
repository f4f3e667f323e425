"""The exchange of keys as Envoy asks for it, through the real server."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import grpc
import pytest
from google.rpc import status_pb2
from sqlalchemy import delete, update

from parley.edge import external_auth_pb2 as edge_pb2
from parley.edge.external_auth_pb2_grpc import AuthorizationStub
from services.auth.edge_servicer import EdgeServicer, denial
from services.auth.exchange import TRUST_SECONDS, KeyExchange
from services.auth.keys import RANDOM_CHARACTERS, checksum, mint, parse
from services.auth.last_use import LastUse
from services.auth.signing_keys import SigningKeys
from services.auth.store.models import User, UserRole
from services.auth.tokens import AccessTokens
from services.rpc.call import Call, enter_call
from services.rpc.errors import DependencyUnavailable, error_info
from services.rpc.interceptors.around import Context
from services.sql.database import Database, parse_url
from tests.auth.conftest import Auth, FakeClock, check_request, reason, token_of

OVERWRITE = edge_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


@pytest.fixture
async def token(auth: Auth) -> str:
    await auth.add_user("ada", "user")
    return str((await auth.login("ada")).access_token)


async def test_a_key_becomes_a_token_with_its_scopes(auth: Auth, token: str) -> None:
    made = await auth.create_key(token, scopes=["tools.list"])
    answer = await auth.check(made.secret)
    (header,) = answer.ok_response.headers
    assert (header.header.key, header.append_action) == ("authorization", OVERWRITE)
    assert set(answer.ok_response.headers_to_remove) == {"x-parley-key", "x-api-key"}
    assert answer.status.code == 0
    who = await auth.who(token_of(answer))
    assert (who.username, list(who.permissions), who.key_id) == ("ada", ["tools.list"], made.key.key_id)


async def test_a_key_without_scopes_permits_what_its_owner_may_now(auth: Auth, token: str) -> None:
    made = await auth.create_key(token)
    who = await auth.who(token_of(await auth.check(made.secret)))
    assert "inference.chat" in who.permissions
    assert "auth.keys" in who.permissions


async def test_the_edge_is_told_for_how_long_it_may_use_the_token_again(auth: Auth, token: str) -> None:
    answer = await auth.check((await auth.create_key(token)).secret)
    told = dict(answer.dynamic_metadata)
    headers = {option.header.key: option.header.value for option in answer.ok_response.headers}
    assert told["authorization"] == headers["authorization"]
    assert 0 < told["seconds"] <= TRUST_SECONDS


async def test_a_request_without_a_key_passes_as_it_is(auth: Auth) -> None:
    answer = await auth.check(None)
    assert answer.HasField("ok_response")
    assert not answer.ok_response.headers


async def test_unknown_revoked_expired_mistyped_and_disabled_are_answered_alike(
    auth: Auth, token: str
) -> None:
    await auth.add_user("gone", "user")
    gone = (await auth.login("gone")).access_token
    of_gone = await auth.create_key(gone)
    async with auth.database.writing() as session:
        await session.execute(
            update(User).where(User.canonical_username == "gone").values(disable_time=datetime.now(UTC))
        )
    revoked = await auth.create_key(token)
    await auth.revoke_key(token, revoked.key.key_id)
    good = await auth.create_key(token)
    stranger = mint()
    same_prefix = good.secret.rsplit("_", 1)[0] + "_" + stranger.text.rsplit("_", 1)[1]
    presented = [
        stranger.text,
        revoked.secret,
        of_gone.secret,
        good.secret[:-1] + "!",
        same_prefix,
        "",
        "x" * 9000,
    ]
    answers = {(await auth.check(key)).SerializeToString(deterministic=True) for key in presented}
    assert len(answers) == 1
    refused = edge_pb2.CheckResponse.FromString(answers.pop())
    assert refused.denied_response.status.code == 401
    assert (await auth.check(good.secret)).HasField("ok_response")


async def test_the_same_prefix_with_another_secret_is_refused(auth: Auth, token: str) -> None:
    good = await auth.create_key(token)
    prefix, secret = good.secret.split("_")[1], "A" * RANDOM_CHARACTERS
    forged = f"parley_{prefix}_{secret}{checksum(prefix + secret)}"
    assert parse(forged) is not None
    assert (await auth.check(forged)).denied_response.status.code == 401
    assert (await auth.check(good.secret)).HasField("ok_response")


async def test_a_refusal_is_typed_for_grpc_and_for_json(auth: Auth) -> None:
    refused = (await auth.check("parley_nonsense")).denied_response
    headers = {option.header.key: option.header.value for option in refused.headers}
    details = headers["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4)))
    info = error_info(status)
    assert info is not None
    assert (info.reason, info.domain) == ("KEY_INVALID", "auth.parley")
    assert headers["grpc-status"] == "16" == str(status.code)
    assert headers["www-authenticate"] == "Bearer"
    body = json.loads(refused.body)
    assert (body["code"], body["details"][0]["reason"]) == (16, "KEY_INVALID")


def test_a_database_that_is_down_is_unavailable_and_not_a_bad_key() -> None:
    refused = denial(DependencyUnavailable("database").to_status())
    assert refused.denied_response.status.code == 503
    assert json.loads(refused.denied_response.body)["code"] == 14


async def test_with_the_database_down_keys_are_refused_as_unavailable(
    clock: FakeClock, tmp_path: Path
) -> None:
    database = Database(parse_url("postgresql+asyncpg://parley@127.0.0.1:1/parley"))
    keys = SigningKeys(tmp_path / "keys", clock, timedelta(minutes=15))
    tokens = AccessTokens(keys, clock, issuer="p", audience="p", life=timedelta(minutes=15))
    servicer = EdgeServicer(KeyExchange(database, tokens, LastUse(database, clock), clock))
    enter_call(Call("request-1", "/envoy.service.auth.v3.Authorization/Check"))
    answer = await servicer.Check(check_request(mint().text), cast("Context", None))
    await database.close()
    assert answer.denied_response.status.code == 503
    assert json.loads(answer.denied_response.body)["details"][0]["reason"] == "DEPENDENCY_UNAVAILABLE"


async def test_rights_that_the_owner_lost_are_lost_to_the_key(auth: Auth, token: str) -> None:
    made = await auth.create_key(token, scopes=["inference.chat", "tools.list"])
    await auth.add_user("other", "user")
    async with auth.database.writing() as session:
        await session.execute(delete(UserRole).where(UserRole.role == "user"))
        user = await auth.who(token)
        session.add(UserRole(user_id=user.user_id, role="viewer", tenant_id=user.tenant_id))
    who = await auth.who(token_of(await auth.check(made.secret)))
    assert list(who.permissions) == ["tools.list"]


@pytest.mark.parametrize("peer", ["inference", "tools", "web", "operator", "auth"])
async def test_only_the_edge_may_ask(auth: Auth, peer: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await AuthorizationStub(auth.connect(peer)).Check(check_request("parley_x"))
    assert reason(caught) == "PEER_NOT_ALLOWED"
