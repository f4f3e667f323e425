"""The handlers of the playground, called as Gradio calls them, in front of a scripted edge."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
import pytest
from starlette.requests import Request

from parley_client.channel import open_channel
from services.rpc.tls import TlsFiles
from tests.web.scripted_edge import PASSWORD, ScriptedEdge, serve
from tests.web.scripts import TOOL_SCRIPTS, TOOLS
from web.administration.desk import AdministrationDesk
from web.edge import Edge
from web.gate import COOKIE
from web.playground.desk import PlaygroundDesk
from web.seats import Seats
from web.session import Session, SessionStore

WAIT_SECONDS = 10


@dataclass(frozen=True)
class Bench:
    """A desk, and somebody who is logged in there."""

    desk: PlaygroundDesk
    edge: ScriptedEdge
    store: SessionStore
    session: Session

    @property
    def request(self) -> gr.Request:
        """A request of that person's browser."""
        cookie = (b"cookie", f"{COOKIE}={self.session.id}".encode())
        scope = {"type": "http", "scheme": "http", "method": "POST", "path": "/", "headers": [cookie]}
        return gr.Request(request=Request(scope), session_hash="tab")

    def act(self, name: str, **fields: str) -> AsyncIterator[tuple[Any, Any]]:
        """What a person does, and what is shown then."""
        sent = {field.replace("__", "."): [value] for field, value in fields.items()}
        return self.desk.act(gr.EventData(None, {"act": name, "fields": sent}), self.request)

    async def form(self, name: str, **fields: str) -> str:
        """The form after something that calls no tool."""
        ((shown, outcome),) = [update async for update in self.act(name, **fields)]
        assert outcome == gr.skip()
        return str(shown)


@pytest.fixture
async def bench(identity: Callable[[str], TlsFiles]) -> AsyncIterator[Bench]:
    scripted = ScriptedEdge(tool_scripts=dict(TOOL_SCRIPTS), tools=TOOLS, permissions=("tools.execute",))
    server, address = await serve(scripted, identity("edge"))
    edge = Edge(open_channel(address, authority=identity("edge").authority))
    store = SessionStore(max_sessions=10, idle_seconds=60)
    session = await store.open("ada", (await edge.login("ada", PASSWORD)).client)
    seats = Seats(store)
    desk = PlaygroundDesk(seats, AdministrationDesk(seats))
    await desk.enter(Bench(desk, scripted, store, session).request)
    yield Bench(desk, scripted, store, session)
    await store.close()
    await edge.close()
    await server.stop(0)


async def test_the_first_tool_that_can_be_called_is_chosen(bench: Bench) -> None:
    assert 'value="calculator" selected' in await bench.desk.enter(bench.request)


async def test_a_call_is_shown_from_its_start_to_its_end(bench: Bench) -> None:
    shown = [update async for update in bench.act("run", argument__expression="17 * 23")]
    assert "Cancel" in shown[0][0]
    assert "391" in shown[-1][1]
    assert "Run" in shown[-1][0]
    assert 'value="17 * 23"' in shown[-1][0]
    assert json.loads(bench.edge.calls[-1].arguments) == {"expression": "17 * 23"}


async def test_what_the_form_refuses_is_not_called_and_stays_written(bench: Bench) -> None:
    await bench.form("choose", tool="python_run")
    shown = await bench.form("run", argument__code="1", argument__timeout_seconds="soon")
    assert "timeout_seconds: must be a whole number." in shown
    assert 'value="soon"' in shown
    assert bench.edge.calls == []


async def running(bench: Bench) -> AsyncIterator[tuple[Any, Any]]:
    """A call that runs until it is ended."""
    await bench.form("choose", tool="python_run")
    shown = bench.act("run", argument__code="1")
    async with asyncio.timeout(WAIT_SECONDS):
        async for _, outcome in shown:
            if "first line" in str(outcome):
                return shown
    raise AssertionError


async def test_cancel_ends_the_call(bench: Bench) -> None:
    shown = await running(bench)
    assert [update async for update in bench.act("stop")] == [(gr.skip(), gr.skip())]
    last = [update async for update in shown][-1]
    assert "The call was ended" in last[1]
    async with asyncio.timeout(WAIT_SECONDS):
        assert await bench.edge.cancelled.get() == "python_run"


async def test_one_call_at_a_time(bench: Bench) -> None:
    shown = await running(bench)
    assert "A call runs." in await bench.form("run", argument__code="2")
    assert "A call runs." in await bench.form("choose", tool="calculator")
    assert len(bench.edge.calls) == 1
    await shown.aclose()  # type: ignore[attr-defined]  # a generator


async def test_a_page_that_goes_away_ends_the_call(bench: Bench) -> None:
    shown = await running(bench)
    await shown.aclose()  # type: ignore[attr-defined]  # a generator
    async with asyncio.timeout(WAIT_SECONDS):
        assert await bench.edge.cancelled.get() == "python_run"


async def test_a_session_that_ends_ends_its_calls(bench: Bench) -> None:
    shown = await running(bench)
    await bench.store.end(bench.session.id)
    async with asyncio.timeout(WAIT_SECONDS):
        assert await bench.edge.cancelled.get() == "python_run"
    await shown.aclose()  # type: ignore[attr-defined]  # a generator


async def test_who_may_not_call_tools_calls_none(bench: Bench) -> None:
    await bench.store.end(bench.session.id)
    bench.edge.permissions = ()
    session = await bench.store.open("eve", bench.session.client)
    eve = Bench(bench.desk, bench.edge, bench.store, session)
    assert "PERMISSION_MISSING" in await eve.form("run", argument__expression="1")
    assert "PERMISSION_MISSING" in await eve.desk.enter(eve.request)
    assert bench.edge.calls == []


async def test_a_tool_that_is_not_listed_is_not_called(bench: Bench) -> None:
    assert "There is no tool rm." in await bench.form("choose", tool="rm")
    assert "no such example" in await bench.form("example", number="99")
