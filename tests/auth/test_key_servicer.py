"""The caller's own keys, through the real server, on both databases."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from ulid import ULID

from parley.auth.v1 import key_service_pb2
from services.auth.keys import parse
from services.rpc.errors import error_info, status_of
from tests.auth.conftest import Auth, bearer, reason, token_of


@pytest.fixture
async def token(auth: Auth) -> str:
    """An ordinary user's access token."""
    await auth.add_user("ada", "user")
    return str((await auth.login("ada")).access_token)


async def test_a_key_is_shown_once_and_its_secret_never_again(auth: Auth, token: str) -> None:
    made = await auth.create_key(token, name="laptop", scopes=["tools.list", "inference.chat"])
    assert parse(made.secret) is not None
    assert made.secret.startswith(made.key.prefix)
    assert list(made.key.scopes) == ["inference.chat", "tools.list"]
    (listed,) = (await auth.list_keys(token)).keys
    assert listed == made.key
    assert made.secret not in str(listed)


async def test_the_secret_is_not_in_the_database(auth: Auth, token: str) -> None:
    made = await auth.create_key(token)
    async with auth.database.reading() as session:
        connection = await session.connection()
        rows = str((await connection.exec_driver_sql("SELECT * FROM api_keys")).all())
    assert made.key.prefix in rows
    assert made.secret not in rows
    assert made.secret.rsplit("_", 1)[1] not in rows


@pytest.mark.parametrize("scope", ["*", "tools.*", "auth.*", "auth.users"])
async def test_a_key_cannot_permit_what_its_owner_may_not(auth: Auth, token: str, scope: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await auth.create_key(token, scopes=["inference.chat", scope])
    assert reason(caught) == "SCOPE_EXCEEDS_OWNER"
    info = error_info(status_of(caught.value))
    assert info is not None
    assert dict(info.metadata) == {"permission": scope}
    assert (await auth.create_key(token, scopes=["tools.math.*", "inference.chat"])).secret


async def test_a_key_cannot_make_a_key_that_permits_more_than_itself(auth: Auth, token: str) -> None:
    narrow = await auth.create_key(token, scopes=["auth.keys", "tools.list"])
    by_key = token_of(await auth.check(narrow.secret))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await auth.create_key(by_key, scopes=["inference.chat"])
    assert reason(caught) == "SCOPE_EXCEEDS_OWNER"
    heir = await auth.create_key(by_key)
    assert list(heir.key.scopes) == ["auth.keys", "tools.list"]


async def test_a_key_without_the_permission_cannot_manage_keys(auth: Auth, token: str) -> None:
    narrow = await auth.create_key(token, scopes=["tools.list"])
    by_key = token_of(await auth.check(narrow.secret))
    for call in (auth.create_key(by_key), auth.list_keys(by_key), auth.revoke_key(by_key, narrow.key.key_id)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert reason(caught) == "PERMISSION_MISSING"


async def test_the_same_request_gives_the_same_key_without_its_secret(auth: Auth, token: str) -> None:
    request_id = str(uuid.uuid4())
    first = await auth.create_key(token, request_id=request_id)
    again = await auth.create_key(token, request_id=request_id.upper())
    assert again.key == first.key
    assert (bool(first.secret), again.secret) == (True, "")
    assert len((await auth.list_keys(token)).keys) == 1


async def test_the_same_request_at_once_makes_one_key(auth: Auth, token: str) -> None:
    request_id = str(uuid.uuid4())
    answers = await asyncio.gather(*(auth.create_key(token, request_id=request_id) for _ in range(6)))
    assert len({answer.key.key_id for answer in answers}) == 1
    assert len([answer for answer in answers if answer.secret]) == 1


async def test_a_request_id_is_not_good_for_another_request(auth: Auth, token: str) -> None:
    request_id = str(uuid.uuid4())
    await auth.create_key(token, request_id=request_id, name="one")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await auth.create_key(token, request_id=request_id, name="other")
    assert reason(caught) == "REQUEST_ID_REUSED"
    assert caught.value.code() == grpc.StatusCode.ALREADY_EXISTS


async def test_request_ids_of_two_users_do_not_meet(auth: Auth, token: str) -> None:
    await auth.add_user("bob", "user")
    other = (await auth.login("bob")).access_token
    request_id = str(uuid.uuid4())
    mine = await auth.create_key(token, request_id=request_id)
    theirs = await auth.create_key(other, request_id=request_id)
    assert mine.key.key_id != theirs.key.key_id
    assert theirs.secret


async def pages(auth: Auth, token: str, size: int) -> list[list[Any]]:
    """All pages of the caller's keys."""
    found, page_token = [], ""
    while True:
        answer = await auth.list_keys(token, page_size=size, page_token=page_token)
        found.append(list(answer.keys))
        page_token = answer.next_page_token
        if not page_token:
            return found


@pytest.mark.parametrize("size", [1, 2, 4, 5, 6, 0])
async def test_pages_hold_every_key_once_newest_first(auth: Auth, token: str, size: int) -> None:
    made = [(await auth.create_key(token, name=str(number))).key.key_id for number in range(5)]
    found = await pages(auth, token, size)
    assert [key.key_id for page in found for key in page] == made[::-1]
    assert all(len(page) <= (size or 100) for page in found)


async def test_a_page_token_is_good_for_its_user_alone(auth: Auth, token: str) -> None:
    await auth.add_user("bob", "user")
    other = (await auth.login("bob")).access_token
    for _ in range(2):
        await auth.create_key(token)
        await auth.create_key(other)
    mine = (await auth.list_keys(token, page_size=1)).next_page_token
    for stolen in (mine, mine[:-2] + "AA", "!", "x" * 1024):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await auth.list_keys(other, page_size=1, page_token=stolen)
        assert reason(caught) == "PAGE_TOKEN_INVALID"
    assert len((await auth.list_keys(token, page_size=1, page_token=mine)).keys) == 1


async def test_nobody_sees_or_ends_another_ones_key_and_a_foreign_id_looks_unknown(
    auth: Auth, token: str
) -> None:
    user = await auth.add_user("bob", "user")
    await auth.add_user("colleague", "admin", tenant=user.tenant_id)
    mine = await auth.create_key(token)
    for name in ("bob", "colleague"):
        other = (await auth.login(name)).access_token
        assert not (await auth.list_keys(other)).keys
        messages = []
        for key_id in (mine.key.key_id, str(ULID())):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await auth.revoke_key(other, key_id)
            assert reason(caught) == "KEY_NOT_FOUND"
            messages.append(str(caught.value.details()).replace(key_id, "ID"))
        assert messages[0] == messages[1]
    assert (await auth.check(mine.secret)).HasField("ok_response")


async def test_revoking_again_changes_nothing(auth: Auth, token: str) -> None:
    made = await auth.create_key(token)
    first = await auth.revoke_key(token, made.key.key_id)
    auth.clock.advance(seconds=5)
    again = await auth.revoke_key(token, made.key.key_id)
    assert first.key.HasField("revoke_time")
    assert again.key == first.key


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "x" * 129},
        {"name": "a\0b"},
        {"name": "a\n{}"},
        {"name": "\x1b[31m"},
        {"scopes": ["tools.*.calculator"]},
        {"scopes": ["tools.list; DROP TABLE users"]},
        {"scopes": ["a", "a"]},
        {"scopes": [f"p{number}" for number in range(129)]},
        {"request_id": "not-a-uuid"},
        {"expire_time": Timestamp(seconds=1)},
    ],
)
async def test_a_field_that_breaks_its_rule_is_named(auth: Auth, token: str, fields: dict[str, Any]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await auth.create_key(token, **fields)
    assert reason(caught) == "INVALID_REQUEST"
    assert not (await auth.list_keys(token)).keys


@pytest.mark.parametrize("name", ["'; DROP TABLE api_keys; --", "\N{SNOWMAN}", "%s%n", "{0.__class__}"])
async def test_a_strange_name_is_only_a_name(auth: Auth, token: str, name: str) -> None:
    await auth.create_key(token, name=name)
    assert [key.name for key in (await auth.list_keys(token)).keys] == [name]


async def test_without_a_token_nothing_is_told(auth: Auth) -> None:
    for metadata in ((), bearer("nonsense"), (("authorization", "Basic YTpi"),)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await auth.keys.ListKeys(key_service_pb2.ListKeysRequest(), metadata=metadata)
        assert reason(caught) in {"TOKEN_MISSING", "TOKEN_INVALID"}


async def test_a_key_ends_by_itself(auth: Auth, token: str) -> None:
    soon = Timestamp()
    soon.FromDatetime(auth.clock() + timedelta(hours=1))
    made = await auth.create_key(token, expire_time=soon)
    assert (await auth.check(made.secret)).HasField("ok_response")
    auth.clock.advance(hours=1)
    assert (await auth.check(made.secret)).denied_response.status.code == 401


async def test_a_key_is_exchanged_for_a_token_of_its_own(auth: Auth, token: str) -> None:
    made = await auth.create_key(token, scopes=["tools.list"])
    exchanged = await auth.keys.ExchangeKey(key_service_pb2.ExchangeKeyRequest(secret=made.secret))
    assert 0 < exchanged.expires_in.seconds <= 15 * 60
    who = await auth.who(exchanged.access_token)
    assert (who.key_id, list(who.permissions)) == (made.key.key_id, ["tools.list"])


async def test_what_is_no_key_is_not_exchanged(auth: Auth) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await auth.keys.ExchangeKey(key_service_pb2.ExchangeKeyRequest(secret="parley_guess"))
    assert reason(caught) == "KEY_INVALID"
