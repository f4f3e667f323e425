"""The rooms in front of the auth service itself, so that both read the contract alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from parley_client.client import Client
from parley_client.credentials import ApiKey
from tests.auth.conftest import Auth, auth, auth_settings, clock, passwords  # noqa: F401  # fixtures
from tests.web.administration.conftest import html, text
from web.administration.audit import AuditRoom
from web.administration.keys import KeysRoom
from web.administration.quotas import QuotasRoom
from web.administration.roles import RolesRoom
from web.administration.usage import UsageRoom
from web.administration.users import UsersRoom
from web.administration.visitor import Visitor


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'auth.db'}"


@pytest.fixture
async def administrator(auth: Auth) -> Visitor:  # noqa: F811
    """The administrator of the first start."""
    token = await auth.root_token()
    who = await auth.who(token)
    return Visitor(Client(auth.channel, ApiKey(token)), who.user_id, who.tenant_id, tuple(who.permissions))


async def test_a_role_and_a_user_who_has_it(administrator: Visitor) -> None:
    roles, users = RolesRoom(administrator), UsersRoom(administrator)
    await html(roles, "new")
    made = await text(roles, "create", name="reporting", permissions="inference.chat models.*")
    assert "The role reporting is made." in made
    await html(users, "new")
    made = await text(users, "create", username="edsger", kind="person", roles=["reporting"])
    assert "edsger is made." in made
    assert "One-time password" in made
    taken = await text(users, "create", username="Edsger", kind="person")
    assert "NAME_TAKEN" in taken
    assert "ROLE_IN_USE" in await text(roles, "delete", name="reporting")
    found = await text(
        users, "filter", username_prefix="EDS", role="reporting", state="active", kind="person"
    )
    assert "edsger Person reporting active one-time password" in found
    user_id = users.listing.items[0].user_id
    assert 'value="reporting" checked' in await html(users, "change", id=user_id)
    etag = users.listing.items[0].etag
    await html(users, "update", id=user_id, display_name="E. D.", roles=["user"], etag=etag)
    assert "ETAG_MISMATCH" in await text(users, "update", id=user_id, roles=["viewer"], etag=etag)
    assert "edsger is shut out." in await text(users, "disable", id=user_id)
    assert "edsger is let in again." in await text(users, "enable", id=user_id)
    assert "0 sessions of edsger have ended." in await text(users, "end_sessions", id=user_id, name="edsger")
    assert "The old password of edsger is over." in await text(users, "reset", id=user_id, name="edsger")
    assert "LAST_ADMIN" in await text(users, "disable", id=administrator.user_id)


async def test_a_key_from_its_making_to_its_end(administrator: Visitor) -> None:
    room = KeysRoom(administrator)
    await html(room, "new")
    made = await text(
        room, "create", name="ci", scopes="inference.*", allowed_addresses="192.0.2.1", ends="30"
    )
    assert "Secret of the key" in made
    assert "from 192.0.2.1/32" in made
    key_id = room.listing.items[0].key_id
    rotated = await text(room, "rotate", id=key_id, name="ci", overlap="60")
    assert "Secret of the new key" in rotated
    assert "The key ci is revoked." in await text(room, "revoke", id=key_id)
    assert "ci admin" not in await text(room, "filter", whose="")
    assert "admin" in await text(room, "filter", whose="everyone")


async def test_a_quota_that_cannot_be_kept_stays_in_the_form(administrator: Visitor) -> None:
    """This service was given no store, and says so."""
    room = QuotasRoom(administrator)
    await html(room, "new")
    shown = await html(room, "set", kind="user_id", subject=administrator.user_id, tokens_per_day="1000")
    assert "DEPENDENCY_UNAVAILABLE" in shown
    assert 'value="1000"' in shown
    assert "There are no quotas" in await text(room)


async def test_usage_is_asked_for_as_the_platform_takes_it(administrator: Visitor) -> None:
    for by in ("model", "key", "user", "day"):
        room = UsageRoom(administrator)
        await text(room, "filter", whose="tenant", by=by, period="90")
        assert room.trouble is None, room.trouble


async def test_what_breaks_a_rule_is_told_by_its_field(administrator: Visitor) -> None:
    shown = await text(UsersRoom(administrator), "create", username="not a name", kind="person")
    assert "username" in shown
    assert "INVALID_REQUEST" in shown or "INVALID_ARGUMENT" in shown


async def test_the_audit_is_listed_and_proved(administrator: Visitor) -> None:
    room = AuditRoom(administrator)
    assert "Audit" in await text(room)
    assert room.trouble is None
    assert "The chain is whole." in await text(room, "verify")
