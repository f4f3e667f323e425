from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration

from parley.auth.v1 import key_service_pb2, user_service_pb2
from tests.web.administration.conftest import Visit, html, text
from tests.web.scripted_auth import SECRET, ScriptedAuth, ulid
from web.administration.keys import KeysRoom


async def test_own_keys_are_listed_without_owners(visit: Visit, auth: ScriptedAuth) -> None:
    shown = await text(KeysRoom(visit("auth.keys")))
    assert "laptop pk_8fK2… all that its owner may live" in shown
    assert "old phone pk_Qq07… all that its owner may revoked" in shown
    assert "nightly report" not in shown
    assert not [request for request in auth.requests if isinstance(request, user_service_pb2.GetUserRequest)]


async def test_an_ended_key_is_told_from_a_revoked_one(visit: Visit, auth: ScriptedAuth) -> None:
    auth.keys[0].expire_time.FromDatetime(datetime(2020, 1, 1, tzinfo=UTC))
    shown = await html(KeysRoom(visit("auth.keys")))
    assert ">over<" in shown
    assert "Revoke laptop" not in shown


async def test_the_tenant_s_keys_have_their_owners_names(visit: Visit, auth: ScriptedAuth) -> None:
    room = KeysRoom(visit("auth.keys", "auth.users.read"))
    shown = await html(room, "filter", whose="everyone")
    assert "nightly-report" in shown
    assert "from 192.0.2.0/24" in shown
    assert 'data-act="revoke"' not in shown
    assert auth.last(key_service_pb2.ListKeysRequest).user_id == "-"
    assert 'data-act="revoke"' in await html(room, "filter", whose="")


async def test_a_key_is_made_as_it_was_asked_for(visit: Visit, auth: ScriptedAuth) -> None:
    room = KeysRoom(visit("*"))
    assert "nightly-report" in await html(room, "new")
    shown = await html(
        room,
        "create",
        name="ci",
        scopes="inference.chat\ntools.math.*",
        allowed_addresses="192.0.2.1, 2001:db8::/32",
        ends="30",
        account=ulid(4),
    )
    assert SECRET in shown
    assert SECRET not in await html(room, "cancel")
    request = auth.last(key_service_pb2.CreateKeyRequest)
    assert (request.name, request.user_id) == ("ci", ulid(4))
    assert list(request.scopes) == ["inference.chat", "tools.math.*"]
    assert list(request.allowed_addresses) == ["192.0.2.1", "2001:db8::/32"]
    ends_in = request.expire_time.ToDatetime(UTC) - datetime.now(UTC)
    assert timedelta(days=29) < ends_in <= timedelta(days=30)


async def test_a_key_ends_at_a_time_or_never(visit: Visit, auth: ScriptedAuth) -> None:
    room = KeysRoom(visit("auth.keys"))
    await html(room, "create", name="a", ends="at", ends_at="2030-01-02T03:04")
    at = auth.last(key_service_pb2.CreateKeyRequest).expire_time.ToDatetime(UTC)
    assert at == datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
    await html(room, "create", name="b", ends="0")
    assert not auth.last(key_service_pb2.CreateKeyRequest).HasField("expire_time")


async def test_a_time_that_is_missing_is_asked_for(visit: Visit, auth: ScriptedAuth) -> None:
    room = KeysRoom(visit("auth.keys"))
    await html(room, "new")
    shown = await html(room, "create", name="ci", ends="at")
    assert "ends at: must be a date and a time." in shown
    assert 'value="ci"' in shown
    assert not [r for r in auth.requests if isinstance(r, key_service_pb2.CreateKeyRequest)]


async def test_only_administrators_are_offered_accounts(visit: Visit) -> None:
    assert 'name="account"' not in await html(KeysRoom(visit("auth.keys")), "new")


async def test_a_rotation_shows_the_new_secret_and_the_old_end(visit: Visit, auth: ScriptedAuth) -> None:
    room = KeysRoom(visit("auth.keys"))
    assert "Rotate laptop" in await text(room, "follow", id=ulid(501), name="laptop")
    shown = await text(room, "rotate", id=ulid(501), name="laptop", overlap="60")
    assert SECRET in shown
    assert "The old one goes on until" in shown
    assert auth.last(key_service_pb2.RotateKeyRequest).overlap == Duration(seconds=3600)


async def test_a_rotation_of_a_key_without_end(visit: Visit) -> None:
    shown = await text(KeysRoom(visit("*")), "rotate", id=ulid(502), overlap="0")
    assert "The old one goes on for a while." in shown


async def test_a_key_is_revoked_after_a_question(visit: Visit, auth: ScriptedAuth) -> None:
    room = KeysRoom(visit("auth.keys"))
    assert 'data-confirm="Revoke laptop?"' in await html(room)
    assert "The key laptop is revoked." in await text(room, "revoke", id=ulid(501))
    assert auth.keys[0].HasField("revoke_time")
