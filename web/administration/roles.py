"""Roles: the built-in ones, and the tenant's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from parley.auth.v1.role_service_pb2 import ListRolesRequest, Role
from web.administration.fields import Fields
from web.administration.listing import PAGE_SIZE
from web.administration.paged_room import PagedRoom
from web.administration.room import Action, Notice


class RolesRoom(PagedRoom[Role]):
    """Named sets of permissions: made, changed, deleted."""

    name = "roles"
    label = "Roles"
    permission = "auth.roles.read"

    def actions(self) -> Mapping[str, Action]:
        """What can be done with roles."""
        return {
            **super().actions(),
            "new": self._new,
            "create": self._create,
            "change": self._change,
            "update": self._update,
            "delete": self._delete,
        }

    async def fetch(self, page_token: str) -> tuple[Sequence[Role], str]:
        """Ask for a page."""
        request = ListRolesRequest(page_size=PAGE_SIZE, page_token=page_token)
        answer = await self._administration.list_roles(request)
        return answer.roles, answer.next_page_token

    async def _new(self, _fields: Fields) -> None:
        self.open_form("create")

    async def _create(self, fields: Fields) -> None:
        role = await self._administration.create_role(_role(fields))
        self.notice = Notice(f"The role {role.name} is made.")

    async def _change(self, fields: Fields) -> None:
        role = await self._administration.get_role(fields.text("name"))
        self.open_form(
            "update",
            name=role.name,
            description=role.description,
            permissions="\n".join(role.permissions),
            etag=role.etag,
        )

    async def _update(self, fields: Fields) -> None:
        role = await self._administration.update_role(_role(fields), "description", "permissions")
        self.notice = Notice(f"The role {role.name} is changed.")

    async def _delete(self, fields: Fields) -> None:
        await self._administration.delete_role(fields.text("name"))
        self.notice = Notice(f"The role {fields.text('name')} is gone.")


def _role(fields: Fields) -> Role:
    return Role(
        name=fields.text("name"),
        description=fields.text("description"),
        permissions=sorted(fields.words("permissions")),
        etag=fields.text("etag"),
    )
