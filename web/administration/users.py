"""The users of the person's tenant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parley.auth.v1.user_service_pb2 import (
    USER_KIND_PERSON,
    USER_KIND_SERVICE,
    USER_KIND_UNSPECIFIED,
    USER_STATE_ACTIVE,
    USER_STATE_DISABLED,
    USER_STATE_UNSPECIFIED,
    CreateUserRequest,
    ListUsersRequest,
    User,
    UserKind,
    UserState,
)
from web.administration.fields import Fields
from web.administration.listing import PAGE_SIZE
from web.administration.paged_room import PagedRoom
from web.administration.role_names import role_names
from web.administration.room import Action, Notice
from web.administration.visitor import Visitor

_KINDS: Mapping[str, UserKind.ValueType] = {"person": USER_KIND_PERSON, "service": USER_KIND_SERVICE}
_STATES: Mapping[str, UserState.ValueType] = {"active": USER_STATE_ACTIVE, "disabled": USER_STATE_DISABLED}


class UsersRoom(PagedRoom[User]):
    """People and service accounts: made, changed, shut out and let in again."""

    name = "users"
    label = "Users"
    permission = "auth.users.read"

    def __init__(self, visitor: Visitor) -> None:
        """Everybody, newest first."""
        super().__init__(visitor)
        self._roles: Sequence[str] = ()

    def actions(self) -> Mapping[str, Action]:
        """What can be done with users."""
        return {
            **super().actions(),
            "new": self._new,
            "create": self._create,
            "change": self._change,
            "update": self._update,
            "disable": self._disable,
            "enable": self._enable,
            "reset": self._reset,
            "end_sessions": self._end_sessions,
        }

    def shown(self) -> Mapping[str, Any]:
        """The users, the filter, and the roles that a form offers."""
        return {**super().shown(), "roles": self._roles}

    async def fetch(self, page_token: str) -> tuple[Sequence[User], str]:
        """Ask for a page."""
        answer = await self._administration.list_users(
            ListUsersRequest(
                page_size=PAGE_SIZE,
                page_token=page_token,
                username_prefix=self.filter.text("username_prefix"),
                role=self.filter.text("role"),
                kind=_KINDS.get(self.filter.text("kind"), USER_KIND_UNSPECIFIED),
                state=_STATES.get(self.filter.text("state"), USER_STATE_UNSPECIFIED),
            )
        )
        return answer.users, answer.next_page_token

    async def _new(self, _fields: Fields) -> None:
        self._roles = await role_names(self._visitor)
        self.open_form("create", kind=["person"], roles=["user"])

    async def _create(self, fields: Fields) -> None:
        made = await self._administration.create_user(
            CreateUserRequest(
                username=fields.text("username"),
                display_name=fields.text("display_name"),
                kind=_KINDS.get(fields.text("kind"), USER_KIND_UNSPECIFIED),
                roles=_roles(fields),
            )
        )
        self.listing.first()
        self.notice = Notice(
            f"{made.user.username} is made.", made.one_time_password, "One-time password, for the first login"
        )

    async def _change(self, fields: Fields) -> None:
        user = await self._administration.get_user(fields.text("id"))
        self._roles = sorted({*await role_names(self._visitor), *user.roles})
        self.open_form(
            "update",
            id=user.user_id,
            username=user.username,
            display_name=user.display_name,
            roles=list(user.roles),
            etag=user.etag,
        )

    async def _update(self, fields: Fields) -> None:
        user = await self._administration.update_user(
            User(
                user_id=fields.text("id"),
                display_name=fields.text("display_name"),
                roles=_roles(fields),
                etag=fields.text("etag"),
            ),
            "display_name",
            "roles",
        )
        self.notice = Notice(f"{user.username} is changed.")

    async def _disable(self, fields: Fields) -> None:
        user = await self._administration.disable_user(fields.text("id"))
        self.notice = Notice(f"{user.username} is shut out.")

    async def _enable(self, fields: Fields) -> None:
        user = await self._administration.enable_user(fields.text("id"))
        self.notice = Notice(f"{user.username} is let in again.")

    async def _reset(self, fields: Fields) -> None:
        password = await self._administration.reset_password(fields.text("id"))
        self.notice = Notice(
            f"The old password of {fields.text('name')} is over.",
            password,
            "One-time password, for the next login",
        )

    async def _end_sessions(self, fields: Fields) -> None:
        ended = await self._administration.end_sessions(fields.text("id"))
        self.notice = Notice(f"{ended} sessions of {fields.text('name')} have ended.")


def _roles(fields: Fields) -> list[str]:
    """The roles that were ticked, or written where the person may not list them."""
    return sorted({*fields.all("roles"), *fields.words("more_roles")})
