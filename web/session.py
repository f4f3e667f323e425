"""Logins, kept on the server: a browser holds a random name of its session and nothing else."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ulid import ULID

from parley.inference.v1 import model_pb2
from parley_client.client import Client
from web.administration.room import Room
from web.administration.visitor import Visitor
from web.answer import Answer
from web.conversation import Conversation
from web.edge import Whereabouts
from web.pictures.picture import Picture, Tray
from web.playground.trial import Trial
from web.run import Run

MAX_CONVERSATIONS = 50
"""Conversations that a login keeps; the oldest is let go."""

MAX_TABS = 32
"""Open tabs that a login is known to have; the longest unused is let go."""

_ID_BYTES = 32


@dataclass
class Tab:
    """An open page of a login.

    Attributes:
        viewing: The id of the conversation that it shows.
        run: The answer that it is being given, or was given last.
        trial: The call of a tool that it asked for last.
        visitor: Who the platform says that the person is; None until it was asked.
        rooms: The rooms of the administration that were entered, by name.
        pictures: Images that go with its next question.
    """

    viewing: str = ""
    run: Run[Answer] | None = None
    trial: Run[Trial] | None = None
    visitor: Visitor | None = None
    rooms: dict[str, Room] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)

    async def turn_to(self, conversation_id: str) -> None:
        """Show another conversation. Leaving one ends the answer that it is being given."""
        left, self.viewing = self.viewing, conversation_id
        if self.run is not None and left != conversation_id:
            await self.run.stop()

    async def stop(self) -> None:
        """End what it is being given."""
        for run in (self.run, self.trial):
            if run is not None:
                await run.stop()


@dataclass(repr=False)
class Session:
    """A login: its tokens (inside the client), its conversations, its open tabs.

    Its repr is left out on purpose: its id is a secret.

    Attributes:
        stores: Whether the platform is to keep conversations that begin now; None until somebody says.
        conversations: Those that are stored nowhere else, and those that tabs show.
        tray: Files of images that are not yet beside a question.
    """

    id: str
    username: str
    client: Client
    used_at: float
    whereabouts: Whereabouts = field(default_factory=Whereabouts)
    models: dict[str, model_pb2.Model] = field(default_factory=dict)
    stores: bool | None = None
    conversations: OrderedDict[str, Conversation] = field(default_factory=OrderedDict)
    tabs: OrderedDict[str, Tab] = field(default_factory=OrderedDict)
    tray: Tray = field(default_factory=Tray)

    def begin(self) -> Conversation:
        """A new, empty conversation; one that is empty already is taken again."""
        empty = next((c for c in reversed(self.conversations.values()) if c.is_new), None)
        return self.keep(empty or Conversation(str(ULID()), stored=bool(self.stores)))

    def keep(self, conversation: Conversation) -> Conversation:
        """Know a conversation; the platform's that no tab shows are let go, since it can give them again."""
        shown = {tab.viewing for tab in self.tabs.values()}
        for known in list(self.conversations.values()):
            if known.at_platform and known.id not in shown:
                del self.conversations[known.id]
        self.conversations[conversation.id] = conversation
        self.conversations.move_to_end(conversation.id)
        while len(self.conversations) > MAX_CONVERSATIONS:
            self.conversations.popitem(last=False)
        return conversation

    def conversation(self, conversation_id: str | None) -> Conversation:
        """The conversation with this id; the newest where there is none."""
        known = self.conversations.get(conversation_id or "")
        newest = next(reversed(self.conversations.values()), None)
        return known or newest or self.begin()

    def store(self, stores: bool) -> None:
        """Choose whether the platform keeps conversations that begin from now on."""
        self.stores = stores
        for conversation in self.conversations.values():
            if conversation.is_new:
                conversation.stored = stores

    def answering(self, conversation_id: str) -> bool:
        """Whether any tab is being given an answer in this conversation."""
        runs = (tab.run for tab in self.tabs.values())
        return any(run and run.answer.running and run.about == conversation_id for run in runs)

    async def stop_answering(self, conversation_id: str) -> None:
        """End every answer in a conversation, whichever tab it is for."""
        for tab in self.tabs.values():
            if tab.run is not None and tab.run.about == conversation_id:
                await tab.run.stop()

    def pictures(self) -> Iterator[Picture]:
        """Every image that the login has the page hold."""
        yield from self.tray
        for tab in self.tabs.values():
            yield from tab.pictures
        for conversation in self.conversations.values():
            yield from conversation.pictures

    def model(self, name: str | None) -> model_pb2.Model | None:
        """A model by name; the default where none is chosen, or the choice is slower than the question."""
        return self.models.get(name or self.default_model or "")

    @property
    def default_model(self) -> str | None:
        """The name of the model that answers where none is chosen."""
        names = [name for name, model in self.models.items() if model.is_default]
        return next(iter([*names, *self.models]), None)

    async def stop(self) -> None:
        """End every answer and every call of a tool."""
        for tab in self.tabs.values():
            await tab.stop()


class SessionStore:
    """The logins of this process: bounded in number, and in time without use."""

    def __init__(
        self, *, max_sessions: int, idle_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """An empty store.

        Args:
            max_sessions: Logins held at once.
            idle_seconds: Time without use after which one is let go.
            clock: Seconds of a steady clock.
        """
        self._max_sessions = max_sessions
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._owners: dict[str, str] = {}

    async def open(self, username: str, client: Client, whereabouts: Whereabouts | None = None) -> Session:
        """Begin a session under a new random id, of a person whose whereabouts the client states."""
        await self._expire()
        session = Session(
            secrets.token_urlsafe(_ID_BYTES), username, client, self._clock(), whereabouts or Whereabouts()
        )
        self._sessions[session.id] = session
        while len(self._sessions) > self._max_sessions:
            await self.end(next(iter(self._sessions)))
        return session

    def find(self, session_id: str | None) -> Session | None:
        """The living session with this id, which is thereby used."""
        session = self._sessions.get(session_id or "")
        if session is None or self._clock() - session.used_at > self._idle_seconds:
            return None
        session.used_at = self._clock()
        self._sessions.move_to_end(session.id)
        return session

    async def end(self, session_id: str) -> None:
        """Forget a session and end its answers. An unknown one changes nothing."""
        session = self._sessions.pop(session_id, None)
        if session is not None:
            for name in session.tabs:
                self._owners.pop(name, None)
            await session.stop()

    async def tab(self, session: Session, name: str) -> Tab | None:
        """The tab that the page named so; None where it belongs to another session."""
        if self._owners.setdefault(name, session.id) != session.id:
            return None
        tab = session.tabs.setdefault(name, Tab())
        session.tabs.move_to_end(name)
        while len(session.tabs) > MAX_TABS:
            await self.close_tab(session, next(iter(session.tabs)))
        return tab

    async def close_tab(self, session: Session, name: str) -> None:
        """Forget a tab and end what it is being given."""
        self._owners.pop(name, None)
        tab = session.tabs.pop(name, None)
        if tab is not None:
            await tab.stop()

    async def close(self) -> None:
        """Forget every session."""
        for session_id in list(self._sessions):
            await self.end(session_id)

    async def _expire(self) -> None:
        now = self._clock()
        for session in list(self._sessions.values()):
            if now - session.used_at > self._idle_seconds:
                await self.end(session.id)
