"""The handlers of the page's controls, called as Gradio calls them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import gradio as gr
import grpc
import pytest
from starlette.requests import Request

from parley_client.channel import open_channel
from services.rpc.tls import TlsFiles
from tests.web.administration_data import tenant
from tests.web.scripted_edge import PASSWORD, ScriptedEdge, serve, status
from web.administration.desk import TABS, AdministrationDesk
from web.administration.users import UsersRoom
from web.edge import Edge
from web.gate import COOKIE
from web.seats import Seats
from web.session import Session, SessionStore


@dataclass(frozen=True)
class Office:
    """A desk, and somebody who is logged in there."""

    desk: AdministrationDesk
    edge: ScriptedEdge
    store: SessionStore
    session: Session

    def request(self, cookie: str | None = None, tab: str = "tab") -> gr.Request:
        """A request of that person's browser."""
        value = f"{COOKIE}={cookie or self.session.id}".encode()
        scope = {
            "type": "http",
            "scheme": "http",
            "method": "POST",
            "path": "/",
            "headers": [(b"cookie", value)],
        }
        return gr.Request(request=Request(scope), session_hash=tab)

    async def seen(self) -> list[str]:
        """The rooms that a page shows tabs of."""
        updates = await self.desk.open(self.request())
        return [room.name for room, update in zip(TABS, updates, strict=True) if update.visible]


@pytest.fixture
async def office(identity: Callable[[str], TlsFiles]) -> AsyncIterator[Office]:
    scripted = ScriptedEdge(auth=tenant(), permissions=("*",))
    server, address = await serve(scripted, identity("edge"))
    edge = Edge(open_channel(address, authority=identity("edge").authority))
    store = SessionStore(max_sessions=10, idle_seconds=60)
    session = await store.open("ada", (await edge.login("ada", PASSWORD)).client)
    yield Office(AdministrationDesk(Seats(store)), scripted, store, session)
    await store.close()
    await edge.close()
    await server.stop(0)


@pytest.mark.parametrize(
    ("permissions", "rooms"),
    [
        ((), ["usage"]),
        (("auth.keys",), ["usage", "keys"]),
        (("auth.audit.read", "auth.quotas.write"), ["usage", "audit"]),
        (("auth.*",), ["usage", "keys", "users", "roles", "quotas", "audit"]),
    ],
)
async def test_a_page_has_the_tabs_of_its_permissions(
    office: Office, permissions: tuple[str, ...], rooms: list[str]
) -> None:
    office.edge.permissions = permissions
    assert await office.seen() == rooms


async def test_a_room_keeps_its_state_for_its_tab_alone(office: Office) -> None:
    act = office.desk.acting(UsersRoom)
    event = gr.EventData(None, {"act": "filter", "fields": {"username_prefix": ["gr"]}})
    assert "ada" not in await act(event, office.request())
    enter = office.desk.entering(UsersRoom)
    assert "Ada Lovelace" not in await enter(office.request())
    assert "Ada Lovelace" in await enter(office.request(tab="other"))


async def test_a_forged_event_opens_no_room(office: Office) -> None:
    office.edge.permissions = ("auth.keys",)
    act = office.desk.acting(UsersRoom)
    shown = await act(gr.EventData(None, {"act": "disable", "fields": {"id": ["x"]}}), office.request())
    assert "PERMISSION_MISSING" in shown
    assert office.edge.auth.requests == []


async def test_an_event_of_another_shape_changes_nothing(office: Office) -> None:
    shown = await office.desk.acting(UsersRoom)(gr.EventData(None, {"fields": 3}), office.request())
    assert "The page cannot do that." in shown


async def test_nobody_is_served_without_a_login(office: Office) -> None:
    with pytest.raises(gr.Error, match="logged out"):
        await office.desk.entering(UsersRoom)(office.request(cookie="guess"))


async def test_a_login_that_is_over_is_let_go(office: Office) -> None:
    await office.seen()
    over = status(grpc.StatusCode.UNAUTHENTICATED, "The token is not good.", "TOKEN_INVALID")
    office.edge.auth.refusals["ListUsers"] = over
    shown = await office.desk.entering(UsersRoom)(office.request())
    assert "Your session has ended." in shown
    assert office.store.find(office.session.id) is None


async def test_a_page_of_a_login_that_is_over_has_no_room(office: Office) -> None:
    office.edge.ended = True
    assert await office.seen() == []
    assert office.store.find(office.session.id) is None


async def test_a_room_of_a_login_that_is_over_is_not_entered(office: Office) -> None:
    office.edge.ended = True
    assert "Log in" in await office.desk.entering(UsersRoom)(office.request())
    assert office.store.find(office.session.id) is None
