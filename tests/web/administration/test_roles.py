from __future__ import annotations

from parley.auth.v1 import role_service_pb2
from tests.web.administration.conftest import Visit, html, text
from tests.web.scripted_auth import ScriptedAuth
from web.administration.roles import RolesRoom


async def test_built_in_roles_cannot_be_changed(visit: Visit) -> None:
    shown = await html(RolesRoom(visit("*")))
    assert "built in" in shown
    assert "Change reporting" in shown
    assert "Change admin" not in shown
    assert "Delete admin" not in shown


async def test_a_role_is_made(visit: Visit, auth: ScriptedAuth) -> None:
    room = RolesRoom(visit("*"))
    assert "New role" in await text(room, "new")
    shown = await text(room, "create", name="auditor", permissions="auth.audit.read, auth.usage.read")
    assert "The role auditor is made." in shown
    assert auth.last(role_service_pb2.CreateRoleRequest).role == role_service_pb2.Role(
        name="auditor", permissions=["auth.audit.read", "auth.usage.read"]
    )


async def test_a_role_is_changed_from_what_was_seen(visit: Visit, auth: ScriptedAuth) -> None:
    room = RolesRoom(visit("*"))
    shown = await html(room, "change", name="reporting")
    assert "inference.chat\nmodels.*\ntools.database.*</textarea>" in shown
    assert 'value="r1"' in shown
    await html(room, "update", name="reporting", description="", permissions="inference.chat", etag="r1")
    request = auth.last(role_service_pb2.UpdateRoleRequest)
    assert (request.role.etag, list(request.role.permissions)) == ("r1", ["inference.chat"])
    assert list(request.update_mask.paths) == ["description", "permissions"]


async def test_a_role_is_deleted_after_a_question(visit: Visit, auth: ScriptedAuth) -> None:
    room = RolesRoom(visit("*"))
    assert 'data-confirm="Delete the role reporting?"' in await html(room)
    assert "The role reporting is gone." in await text(room, "delete", name="reporting")
    assert "reporting" not in [role.name for role in auth.roles]
