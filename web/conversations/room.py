"""The side of the page: the person's conversations, those that the platform keeps and those of this login."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from parley.inference.v1 import conversation_pb2
from parley.inference.v1 import conversation_service_pb2 as pb2
from parley_client.errors import ParleyError
from web.administration.drawing import moment
from web.administration.fields import Fields
from web.administration.listing import PAGE_SIZE, Listing
from web.administration.room import Action, Room
from web.administration.visitor import Visitor
from web.conversation import UNTITLED, Conversation
from web.conversations.history import last_message, read
from web.session import Session, Tab

READ = "inference.conversations.read"
WRITE = "inference.conversations.write"

MOST_TITLES = 5
"""Conversations whose titles a search finds, beside what was said in any."""


@dataclass(frozen=True)
class Entry:
    """A conversation in the list.

    Attributes:
        stored: Whether the platform keeps it.
        when: When it was changed last; empty where the page does not know.
        is_branch: Whether it began with what another one held.
        busy: Whether an answer is being added to it.
    """

    id: str
    title: str
    stored: bool
    when: str = ""
    is_branch: bool = False
    busy: bool = False


class ConversationsRoom(Room):
    """What the side shows to one tab. Whatever turns the tab to another conversation happens here."""

    name = "conversations"
    label = "Conversations"
    permission = ""

    def __init__(self, visitor: Visitor, session: Session, tab: Tab) -> None:
        """Show the newest conversations, none of them asked for yet."""
        super().__init__(visitor)
        self._session = session
        self._tab = tab
        self._kept = visitor.client.conversations
        self._off = False
        self._query = ""
        self._titled: Sequence[conversation_pb2.Conversation] = ()
        self._listing = Listing(self._fetch)
        self._finds = Listing(self._find)
        if session.stores is None:
            session.store(visitor.may(WRITE))

    def actions(self) -> Mapping[str, Action]:
        """What can be done with conversations."""
        return {
            "filter": self._search,
            "next": self._next,
            "previous": self._previous,
            "open": self._open,
            "change": self._change,
            "rename": self._rename,
            "branch": self._branch,
            "delete": self._delete,
            "store": self._store,
        }

    async def refresh(self) -> str:
        """What is on show, asked for anew; an open form stays as it is."""
        async with self._acting:
            self.trouble = None
            await self._try(self.load)
            return self._draw()

    def picture(self) -> str:
        """What is on show, as far as it is known."""
        return self._draw()

    async def load(self) -> None:
        """Ask for the page on show, unless the deployment stores nothing."""
        if self._off or not self._visitor.may(READ):
            return
        try:
            await self._shown.load()
            self._titled = await self._find_titles() if self._query and self._finds.number == 1 else ()
        except ParleyError as error:
            if error.reason != "CONVERSATIONS_OFF":
                raise
            self._off = True
            self._session.store(False)

    def shown(self) -> Mapping[str, Any]:
        """The lists, and what is on show in the chat."""
        return {
            "viewing": self._tab.viewing,
            "can_store": self._may(WRITE),
            "can_search": self._may(READ),
            "stores": bool(self._session.stores),
            "query": self._query,
            "listing": self._shown,
            "entries": list(self._titles() if self._query else self._stored()),
            "finds": self._finds.items if self._query else (),
            "own": [] if self._query else list(self._own()),
            "untitled": UNTITLED,
        }

    @property
    def _shown(self) -> Listing[Any]:
        return self._finds if self._query else self._listing

    def _may(self, permission: str) -> bool:
        return not self._off and self._visitor.may(permission)

    async def _fetch(self, page_token: str) -> tuple[Sequence[conversation_pb2.Conversation], str]:
        answer = await self._kept.list(
            pb2.ListConversationsRequest(page_size=PAGE_SIZE, page_token=page_token)
        )
        return answer.conversations, answer.next_page_token

    async def _find(self, page_token: str) -> tuple[Sequence[pb2.MessageFound], str]:
        request = pb2.SearchMessagesRequest(query=self._query, page_size=PAGE_SIZE, page_token=page_token)
        answer = await self._kept.search(request)
        return answer.found, answer.next_page_token

    async def _find_titles(self) -> Sequence[conversation_pb2.Conversation]:
        request = pb2.ListConversationsRequest(title_contains=self._query, page_size=MOST_TITLES)
        return (await self._kept.list(request)).conversations

    def _titles(self) -> Iterator[Entry]:
        return map(self._entry, self._titled)

    def _stored(self) -> Iterator[Entry]:
        """The page of stored ones, after the one in the chat where that stands on another."""
        on_show = self._session.conversations.get(self._tab.viewing)
        listed = {each.conversation_id for each in self._listing.items}
        if on_show is not None and on_show.stored and not on_show.is_new and on_show.id not in listed:
            yield self._known(on_show)
        yield from map(self._entry, self._listing.items)

    def _own(self) -> Iterator[Entry]:
        """Those that this login alone has, newest first."""
        for conversation in reversed(self._session.conversations.values()):
            if not conversation.stored and not conversation.is_new:
                yield self._known(conversation)

    def _known(self, conversation: Conversation) -> Entry:
        busy = self._session.answering(conversation.id)
        return Entry(conversation.id, conversation.title, conversation.stored, busy=busy)

    def _entry(self, given: conversation_pb2.Conversation) -> Entry:
        known = self._session.conversations.get(given.conversation_id)
        title = given.title or (known.title if known is not None else UNTITLED)
        when, is_branch = moment(given.update_time), given.HasField("origin")
        busy = given.busy or self._session.answering(given.conversation_id)
        return Entry(given.conversation_id, title, True, when, is_branch, busy)

    async def _search(self, fields: Fields) -> None:
        self._query = fields.text("query")
        self._listing.first()
        self._finds.first()

    async def _next(self, _fields: Fields) -> None:
        self._shown.next()

    async def _previous(self, _fields: Fields) -> None:
        self._shown.previous()

    async def _store(self, fields: Fields) -> None:
        self._session.store(bool(fields.all("stores")) and self._may(WRITE))

    async def _open(self, fields: Fields) -> None:
        await self._turn_to(await self._conversation(fields.text("id")))

    async def _conversation(self, conversation_id: str) -> Conversation:
        """One by its id; what somebody may have gone on with elsewhere is read again.

        Raises:
            ParleyError: There is none, or the platform does not say.
        """
        known = self._session.conversations.get(conversation_id)
        if known is not None and (not known.at_platform or self._session.answering(known.id)):
            return known
        return await read(self._kept, conversation_id)

    async def _turn_to(self, conversation: Conversation) -> None:
        await self._tab.turn_to(conversation.id)
        self._session.keep(conversation)

    async def _change(self, fields: Fields) -> None:
        self.open_form("rename", id=fields.text("id"), title=fields.text("title"))

    async def _rename(self, fields: Fields) -> None:
        title, known = fields.text("title"), self._session.conversations.get(fields.text("id"))
        if known is None or known.at_platform:
            title = (await self._kept.rename(fields.text("id"), title)).title
        if known is not None:
            known.name = title

    async def _branch(self, fields: Fields) -> None:
        origin, number = self._session.conversations.get(self._tab.viewing), fields.whole("turn")
        if origin is None or not origin.at_platform or number is None or number >= len(origin.turns):
            raise ParleyError(grpc.StatusCode.NOT_FOUND, "There is nothing to branch from.")
        message_id = await last_message(self._kept, origin.id, origin.turns[number])
        made = await self._kept.branch(origin.id, message_id)
        await self._search(Fields())
        await self._turn_to(await read(self._kept, made.conversation_id))

    async def _delete(self, fields: Fields) -> None:
        conversation_id = fields.text("id")
        known = self._session.conversations.get(conversation_id)
        await self._session.stop_answering(conversation_id)
        if known is None or known.at_platform:
            await self._kept.delete(conversation_id)
        self._session.conversations.pop(conversation_id, None)
        if self._tab.viewing == conversation_id:
            await self._turn_to(self._session.begin())
