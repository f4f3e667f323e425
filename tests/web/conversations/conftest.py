"""A person with conversations, in front of the inference service itself; only the engine is scripted."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from starlette.requests import Request

from parley_client.client import Client
from parley_client.credentials import ApiKey
from services.inference.conversations.library import ConversationLibrary
from tests.conftest import TokenMaker
from tests.inference.conftest import replica, store, tools_process, tools_stub  # noqa: F401  # fixtures
from tests.inference.conversations.conftest import database, library, sqlite_template  # noqa: F401  # fixtures
from tests.inference.replicas import Identity, Replica, as_edge
from tests.inference.scripted import ScriptedEngine
from tests.postgresql import sqlite_url
from tests.web.test_markup import Reader
from web.administration.desk import AdministrationDesk
from web.administration.visitor import Visitor
from web.conversations.desk import ConversationsDesk
from web.desk import Desk
from web.gate import COOKIE
from web.seats import Seats
from web.session import Session, SessionStore

PERMISSIONS = ("inference.chat", "inference.conversations.*", "models.*", "tools.list", "tools.execute")
CHAT, COMPOSER, SIDE = 0, 1, 2
"""Where these stand among what an answer updates."""


@dataclass(frozen=True)
class Person:
    """Somebody who is logged in, and the handlers of the page."""

    client: Client
    session: Session
    visitor: Visitor
    desk: Desk
    conversations: ConversationsDesk
    logins: SessionStore
    engine: ScriptedEngine

    async def request(self, tab: str = "tab") -> gr.Request:
        """A request of a tab, whom the platform has told who it is."""
        opened = await self.logins.tab(self.session, tab)
        assert opened is not None
        opened.visitor = self.visitor
        cookie = (b"cookie", f"{COOKIE}={self.session.id}".encode())
        scope = {"type": "http", "scheme": "http", "method": "POST", "path": "/", "headers": [cookie]}
        return gr.Request(request=Request(scope), session_hash=tab)

    async def ask(self, question: str, tab: str = "tab") -> tuple[str, str]:
        """Ask; gives what chat and side say when the answer is over."""
        updates = [u async for u in self.desk.ask(question, None, await self.request(tab))]
        return words(updates[-1][CHAT]), words(updates[-1][SIDE])

    async def act(self, name: str, tab: str = "tab", **fields: str) -> tuple[str, str]:
        """Do something in the side; gives what chat and side say then, the chat only where it turned."""
        sent = {"act": name, "fields": {field: [value] for field, value in fields.items()}}
        event = gr.EventData(None, sent)
        chat, side, *_ = await self.conversations.act(event, None, await self.request(tab))
        return words(chat), words(side)

    async def side(self, tab: str = "tab") -> str:
        """What the side says when the page is loaded."""
        shown, _ = await self.conversations.open(await self.request(tab))
        return words(shown)

    @property
    def shown(self) -> str:
        """The id of the conversation that the tab shows."""
        return self.session.tabs["tab"].viewing


def words(shown: Any) -> str:
    """What stands in the side or in the chat, with single spaces; nothing where it is left as it is."""
    if isinstance(shown, list):
        shown = " ".join(message["content"][0]["text"] for message in shown)
    return " ".join(Reader(shown.replace("<", " <")).text.split()) if isinstance(shown, str) else ""


Login = Callable[..., Awaitable[Person]]


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:  # noqa: F811
    return sqlite_url(shutil.copy(sqlite_template, tmp_path / "conversations.db"))


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
async def log_in(
    replica: Replica,  # noqa: F811
    library: ConversationLibrary,  # noqa: F811
    identity: Identity,
    tokens: TokenMaker,
    engine: ScriptedEngine,
) -> AsyncIterator[Login]:
    """Logs people in, by default one who may do all that it takes, at a service that stores."""
    async with AsyncExitStack() as stack:
        stores: dict[bool, int] = {}

        async def enter(*, user_id: str = "user-1", may: Any = PERMISSIONS, stored: bool = True) -> Person:
            if stored not in stores:
                process = await stack.enter_async_context(
                    replica(engine, library=library if stored else None)
                )
                stores[stored] = process.port
            channel = await stack.enter_async_context(as_edge(identity("edge"), stores[stored]))
            principal = tokens.principal(*may, user_id=user_id)
            client = Client(channel, ApiKey(tokens.token(principal)))
            logins = SessionStore(max_sessions=2, idle_seconds=60)
            stack.push_async_callback(logins.close)
            seats = Seats(logins)
            side = ConversationsDesk(seats, AdministrationDesk(seats))
            visitor = Visitor(client, user_id, principal.tenant_id, tuple(may))
            session = await logins.open("ada", client)
            return Person(client, session, visitor, Desk(seats, side), side, logins, engine)

        yield enter
