"""The conversations that are stored for users: made, found, changed and gone on with."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import IntegrityError
from ulid import ULID

from parley.inference.v1 import message_pb2
from services.inference.conversations.errors import (
    ConversationBusy,
    ConversationChanged,
    ConversationNotFound,
    MessageNotFound,
    TooManyConversations,
)
from services.inference.conversations.messages import NewMessage, add, body, copied, folded
from services.inference.conversations.models import StoredConversation, StoredMessage
from services.inference.conversations.records import ConversationRecords
from services.inference.runs.registry import Owner
from services.sql.database import Database

MAX_CONVERSATIONS = 10_000


@dataclass(frozen=True, slots=True)
class Hold:
    """A conversation that a run adds to, alone, until it is released or lapses."""

    owner: Owner
    conversation_id: str
    hold_id: str
    messages: tuple[message_pb2.Message, ...]


class ConversationLibrary:
    """Conversations in a database; each method is one transaction and raises as its names say."""

    def __init__(self, database: Database, *, max_conversations: int = MAX_CONVERSATIONS) -> None:
        """Keep them here.

        Args:
            database: With the schema of `services.inference.conversations.schema`.
            max_conversations: How many a user may have.
        """
        self._database = database
        self._max_conversations = max_conversations

    async def create(
        self, owner: Owner, conversation_id: str, title: str, messages: Sequence[NewMessage]
    ) -> StoredConversation:
        """Begin a conversation; one that has the id and is the owner's is given as it is.

        Raises:
            ConversationNotFound: Somebody else's has the id.
            ConversationFull: That is more than one may hold.
            TooManyConversations: The owner has all that a user may have.
        """
        made = self._new(owner, conversation_id or str(ULID()), title)
        with suppress(IntegrityError):  # the same request, at the same moment
            async with self._database.writing() as session:
                records = ConversationRecords(session, owner)
                if conversation_id and await records.exists(conversation_id):
                    return await _found(records, conversation_id)
                await self._begin(records, made)
                add(records, made, messages)
                return made
        return await self.get(owner, conversation_id)

    async def get(self, owner: Owner, conversation_id: str) -> StoredConversation:
        """A conversation.

        Raises:
            ConversationNotFound: The owner has none of this id.
        """
        async with self._database.reading() as session:
            return await _found(ConversationRecords(session, owner), conversation_id)

    async def page(self, owner: Owner, title: str, after: str, size: int) -> Sequence[StoredConversation]:
        """Conversations whose title has a text, the one changed last first, after a `change_id`."""
        async with self._database.reading() as session:
            return await ConversationRecords(session, owner).page(folded(title), after, size)

    async def search(
        self, owner: Owner, query: str, conversation_id: str, after: str, size: int
    ) -> Sequence[tuple[StoredMessage, str]]:
        """Messages that have a text, newest first, after a message's id.

        Raises:
            ConversationNotFound: The owner has none of this id.
        """
        async with self._database.reading() as session:
            records = ConversationRecords(session, owner)
            if conversation_id:
                await _found(records, conversation_id)
            return await records.search(folded(query), conversation_id, after, size)

    async def messages(
        self, owner: Owner, conversation_id: str, after: int, size: int
    ) -> Sequence[StoredMessage]:
        """Messages of a conversation, oldest first, after a position.

        Raises:
            ConversationNotFound: The owner has none of this id.
        """
        async with self._database.reading() as session:
            records = ConversationRecords(session, owner)
            await _found(records, conversation_id)
            return await records.messages(conversation_id, after, size)

    async def rename(self, owner: Owner, conversation_id: str, title: str) -> StoredConversation:
        """Give a conversation another title.

        Raises:
            ConversationNotFound: The owner has none of this id.
        """
        async with self._database.writing() as session:
            conversation = await _found(ConversationRecords(session, owner), conversation_id, changing=True)
            conversation.call(title)
            conversation.changed()
            return conversation

    async def delete(self, owner: Owner, conversation_id: str) -> None:
        """Delete a conversation, if the owner has it."""
        async with self._database.writing() as session:
            await ConversationRecords(session, owner).delete(conversation_id)

    async def append(
        self, owner: Owner, conversation_id: str, messages: Sequence[NewMessage], after_message_id: str
    ) -> tuple[StoredConversation, list[str]]:
        """Add messages; gives their ids.

        Raises:
            ConversationNotFound: The owner has none of this id.
            ConversationBusy: A run is adding to it.
            ConversationChanged: It does not end with `after_message_id`.
            ConversationFull: That is more than it may hold.
        """
        async with self._database.writing() as session:
            records = ConversationRecords(session, owner)
            conversation = await _found(records, conversation_id, changing=True)
            _refuse_busy(conversation)
            last = await records.last(conversation)
            if after_message_id and after_message_id != last:
                raise ConversationChanged(conversation_id, last)
            return conversation, add(records, conversation, messages)

    async def branch(
        self, owner: Owner, conversation_id: str, message_id: str, title: str
    ) -> StoredConversation:
        """Begin a conversation with what another one holds up to a message.

        Raises:
            ConversationNotFound: The owner has none of this id.
            MessageNotFound: It has no such message.
            TooManyConversations: The owner has all that a user may have.
        """
        async with self._database.writing() as session:
            records = ConversationRecords(session, owner)
            origin = await _found(records, conversation_id)
            last = await records.message(conversation_id, message_id)
            if last is None:
                raise MessageNotFound(conversation_id, message_id)
            made = self._new(owner, str(ULID()), title or origin.title)
            made.origin_conversation_id, made.origin_message_id = conversation_id, message_id
            made.model = origin.model
            await self._begin(records, made)
            add(records, made, map(copied, await records.messages(conversation_id, -1, last.position + 1)))
            return made

    async def hold(self, owner: Owner, conversation_id: str, seconds: float, holder: str = "") -> Hold:
        """Keep others from adding to a conversation, for so long at most, and read it.

        Args:
            owner: Whose it is.
            conversation_id: The conversation.
            seconds: When the hold lapses.
            holder: Names the hold, as nothing else is named; empty where nobody will take it over.

        Raises:
            ConversationNotFound: The owner has none of this id.
            ConversationBusy: A run is adding to it.
        """
        async with self._database.writing() as session:
            records = ConversationRecords(session, owner)
            conversation = await _found(records, conversation_id, changing=True)
            _refuse_busy(conversation)
            return await _held(records, conversation, holder or str(ULID()), seconds)

    async def take_over(
        self, owner: Owner, conversation_id: str, lost: str, holder: str, seconds: float
    ) -> Hold | None:
        """Hold a conversation in the place of one who was lost, who can add nothing to it from now on.

        Args:
            owner: Whose it is.
            conversation_id: The conversation.
            lost: Who held it.
            holder: Who is to hold it.
            seconds: When the hold lapses.

        Returns:
            None where it is not held by who was lost: that one was at its end, or others went on.

        Raises:
            ConversationNotFound: The owner has none of this id.
        """
        async with self._database.writing() as session:
            records = ConversationRecords(session, owner)
            conversation = await _found(records, conversation_id, changing=True)
            if conversation.hold != lost:
                return None
            return await _held(records, conversation, holder, seconds)

    async def release(self, hold: Hold, messages: Sequence[NewMessage]) -> None:
        """End a hold and add what was said, however long it is by now.

        Raises:
            ConversationNotFound: It was deleted meanwhile.
            ConversationBusy: The hold had lapsed, and another run adds to it.
        """
        async with self._database.writing() as session:
            records = ConversationRecords(session, hold.owner)
            conversation = await _found(records, hold.conversation_id, changing=True)
            if conversation.hold != hold.hold_id:
                raise ConversationBusy(hold.conversation_id)
            conversation.hold, conversation.hold_until = "", None
            if messages:
                add(records, conversation, messages, limited=False)

    def _new(self, owner: Owner, conversation_id: str, title: str) -> StoredConversation:
        made = StoredConversation(
            conversation_id=conversation_id,
            tenant_id=owner.tenant_id,
            user_id=owner.user_id,
            message_count=0,
            bytes=0,
            hold="",
            create_time=datetime.now(UTC),
        )
        made.call(title)
        made.changed()
        return made

    async def _begin(self, records: ConversationRecords, made: StoredConversation) -> None:
        """Store a new conversation.

        Raises:
            TooManyConversations: The owner has all that a user may have.
        """
        if await records.count() >= self._max_conversations:
            raise TooManyConversations(self._max_conversations)
        records.add(made)
        await records.store()


async def _held(
    records: ConversationRecords, conversation: StoredConversation, holder: str, seconds: float
) -> Hold:
    """Hold a conversation under a name, and read it."""
    conversation.hold = holder
    conversation.hold_until = datetime.now(UTC) + timedelta(seconds=seconds)
    stored = await records.messages(conversation.conversation_id, -1, conversation.message_count)
    return Hold(records.owner, conversation.conversation_id, holder, tuple(map(body, stored)))


async def _found(
    records: ConversationRecords, conversation_id: str, *, changing: bool = False
) -> StoredConversation:
    """A conversation of the owner's.

    Raises:
        ConversationNotFound: There is none of this id.
    """
    conversation = await records.find(conversation_id, changing=changing)
    if conversation is None:
        raise ConversationNotFound(conversation_id)
    return conversation


def _refuse_busy(conversation: StoredConversation) -> None:
    """Let nobody add to what a run is adding to.

    Raises:
        ConversationBusy: One is.
    """
    if is_busy(conversation):
        raise ConversationBusy(conversation.conversation_id)


def is_busy(conversation: StoredConversation) -> bool:
    """Whether a run is adding to it; the hold of one that was lost lapses."""
    return conversation.hold_until is not None and conversation.hold_until > datetime.now(UTC)
