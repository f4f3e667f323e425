"""API keys: the person's own, and the tenant's for those who administer it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from parley.auth.v1.key_service_pb2 import CreateKeyRequest, Key, ListKeysRequest
from parley.auth.v1.user_service_pb2 import USER_KIND_SERVICE, ListUsersRequest, User
from web.administration.directory import Directory
from web.administration.fields import Fields, not_valid
from web.administration.listing import PAGE_SIZE
from web.administration.paged_room import PagedRoom
from web.administration.room import Action, Notice
from web.administration.visitor import Visitor

EVERYONE = "-"
"""In place of a user's id: the whole tenant (`ListKeysRequest.user_id`)."""

MAX_OFFERED = 100
"""Service accounts that the form for a key offers."""

MAX_DAYS = 3650
"""Days to its end that a new key can be given by number."""

MAX_OVERLAP_MINUTES = 30 * 24 * 60

SECRET_MEANING = "Secret of the key"  # noqa: S105  # what it is called, not what it is  # pragma: allowlist secret


class KeysRoom(PagedRoom[Key]):
    """Keys: made, followed by new ones, ended."""

    name = "keys"
    label = "Keys"
    permission = "auth.keys"

    def __init__(self, visitor: Visitor) -> None:
        """The person's own keys, newest first."""
        super().__init__(visitor)
        self._directory = Directory(visitor)
        self._accounts: Sequence[User] = ()

    def actions(self) -> Mapping[str, Action]:
        """What can be done with keys."""
        return {
            **super().actions(),
            "new": self._new,
            "create": self._create,
            "follow": self._follow,
            "rotate": self._rotate,
            "revoke": self._revoke,
        }

    async def load(self) -> None:
        """Ask for the page of keys, and for their owners' names where there may be several."""
        await super().load()
        if self._owner:
            await self._directory.learn(key.user_id for key in self.listing.items)

    def shown(self) -> Mapping[str, Any]:
        """The keys, whose they are, and the accounts that a form offers."""
        return {
            **super().shown(),
            "everyone": bool(self._owner),
            "owner": self._directory.name,
            "accounts": self._accounts,
            "state": _state,
        }

    @property
    def _owner(self) -> str:
        """Whose keys: empty for the person's own."""
        return EVERYONE if self.filter.text("whose") == "everyone" else ""

    async def fetch(self, page_token: str) -> tuple[Sequence[Key], str]:
        """Ask for a page."""
        request = ListKeysRequest(page_size=PAGE_SIZE, page_token=page_token, user_id=self._owner)
        answer = await self._administration.list_keys(request)
        return answer.keys, answer.next_page_token

    async def _new(self, _fields: Fields) -> None:
        self._accounts = ()
        if self._visitor.may("auth.users.read") and self._visitor.may("auth.users.write"):
            request = ListUsersRequest(kind=USER_KIND_SERVICE, page_size=MAX_OFFERED)
            self._accounts = (await self._administration.list_users(request)).users
        self.open_form("create", ends="90")

    async def _create(self, fields: Fields) -> None:
        request = CreateKeyRequest(
            name=fields.text("name"),
            scopes=fields.words("scopes"),
            allowed_addresses=fields.words("allowed_addresses"),
            user_id=fields.text("account"),
        )
        ends = _end(fields)
        if ends is not None:
            request.expire_time.FromDatetime(ends)
        made = await self._administration.create_key(request)
        self.listing.first()
        self.notice = Notice(f"The key {made.key.name} is made.", made.secret, SECRET_MEANING)

    async def _follow(self, fields: Fields) -> None:
        self.open_form("rotate", id=fields.text("id"), name=fields.text("name"), overlap="1440")

    async def _rotate(self, fields: Fields) -> None:
        overlap = timedelta(minutes=fields.whole("overlap", MAX_OVERLAP_MINUTES) or 0)
        made = await self._administration.rotate_key(fields.text("id"), overlap)
        self.listing.first()
        self.notice = Notice(
            f"The key {made.key.name} has a follower. {_going_on(made.replaced_key)}",
            made.secret,
            "Secret of the new key",
        )

    async def _revoke(self, fields: Fields) -> None:
        key = await self._administration.revoke_key(fields.text("id"))
        self.notice = Notice(f"The key {key.name} is revoked.")


def _end(fields: Fields) -> datetime | None:
    """When a new key shall end; None: never."""
    if fields.text("ends") == "at":
        ends = fields.time("ends_at")
        if ends is None:
            raise not_valid("ends_at", "must be a date and a time")
        return ends
    days = fields.whole("ends", MAX_DAYS)
    return datetime.now(UTC) + timedelta(days=days) if days else None


def _going_on(old: Key) -> str:
    if not old.HasField("expire_time"):
        return "The old one goes on for a while."
    return f"The old one goes on until {old.expire_time.ToDatetime(UTC):%Y-%m-%d %H:%M} UTC."


def _state(key: Key) -> str:
    """Whether a key can be used."""
    if key.HasField("revoke_time"):
        return "revoked"
    over = key.HasField("expire_time") and key.expire_time.ToDatetime(UTC) <= datetime.now(UTC)
    return "over" if over else "live"
