"""Conversations within one transaction, each found by its owner alone."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.inference.conversations.models import StoredConversation, StoredMessage
from services.inference.runs.registry import Owner


class ConversationRecords:
    """The conversations of one user."""

    def __init__(self, session: AsyncSession, owner: Owner) -> None:
        """Work in this transaction, for this user."""
        self._session = session
        self._owner = owner

    @property
    def owner(self) -> Owner:
        """Whose they are."""
        return self._owner

    @property
    def _own(self) -> ColumnElement[bool]:
        owned = StoredConversation.tenant_id == self._owner.tenant_id
        return owned & (StoredConversation.user_id == self._owner.user_id)

    async def count(self) -> int:
        """How many there are."""
        query = select(func.count()).select_from(StoredConversation).where(self._own)
        return await self._session.scalar(query) or 0

    async def find(self, conversation_id: str, *, changing: bool = False) -> StoredConversation | None:
        """One of them; `changing` keeps others from changing it until the transaction ends."""
        query = select(StoredConversation).where(
            self._own, StoredConversation.conversation_id == conversation_id
        )
        return await self._session.scalar(query.with_for_update() if changing else query)

    async def exists(self, conversation_id: str) -> bool:
        """Whether anybody has a conversation of this id."""
        return await self._session.get(StoredConversation, conversation_id) is not None

    async def page(self, folded: str, after: str, size: int) -> Sequence[StoredConversation]:
        """Those whose title has a text, the one changed last first, after the change `after` if given."""
        query = select(StoredConversation).where(self._own)
        if folded:
            query = query.where(StoredConversation.folded_title.contains(folded, autoescape=True))
        if after:
            query = query.where(StoredConversation.change_id < after)
        query = query.order_by(StoredConversation.change_id.desc()).limit(size)
        return (await self._session.scalars(query)).all()

    async def messages(self, conversation_id: str, after: int, size: int) -> Sequence[StoredMessage]:
        """Messages of a conversation that is known to be the owner's, from a position on."""
        query = select(StoredMessage).where(
            StoredMessage.conversation_id == conversation_id, StoredMessage.position > after
        )
        return (await self._session.scalars(query.order_by(StoredMessage.position).limit(size))).all()

    async def message(self, conversation_id: str, message_id: str) -> StoredMessage | None:
        """One message of a conversation that is known to be the owner's."""
        query = select(StoredMessage).where(
            StoredMessage.conversation_id == conversation_id, StoredMessage.message_id == message_id
        )
        return await self._session.scalar(query)

    async def last(self, conversation: StoredConversation) -> str:
        """The id of a conversation's last message; empty where it has none."""
        query = select(StoredMessage.message_id).where(
            StoredMessage.conversation_id == conversation.conversation_id,
            StoredMessage.position == conversation.message_count - 1,
        )
        return await self._session.scalar(query) or ""

    async def search(
        self, folded: str, conversation_id: str, after: str, size: int
    ) -> Sequence[tuple[StoredMessage, str]]:
        """Messages that have a text, with the titles of their conversations; newest first."""
        query = (
            select(StoredMessage, StoredConversation.title)
            .join(StoredConversation, StoredConversation.conversation_id == StoredMessage.conversation_id)
            .where(self._own, StoredMessage.folded_text.contains(folded, autoescape=True))
        )
        if conversation_id:
            query = query.where(StoredMessage.conversation_id == conversation_id)
        if after:
            query = query.where(StoredMessage.message_id < after)
        query = query.order_by(StoredMessage.message_id.desc()).limit(size)
        return [(message, title) for message, title in await self._session.execute(query)]

    async def delete(self, conversation_id: str) -> None:
        """Delete one with its messages, if it is there."""
        await self._session.execute(
            delete(StoredConversation).where(self._own, StoredConversation.conversation_id == conversation_id)
        )

    def add(self, record: StoredConversation | StoredMessage) -> None:
        """Store a new row."""
        self._session.add(record)

    async def store(self) -> None:
        """Have the rows in the database before others refer to them."""
        await self._session.flush()
