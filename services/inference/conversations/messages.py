"""Messages as rows of a conversation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from ulid import ULID

from parley.inference.v1 import message_pb2
from services.inference.conversations.models import TITLE_LENGTH, StoredConversation, StoredMessage
from services.inference.conversations.records import ConversationRecords
from services.inference.errors import ConversationFull
from services.inference.history import MAX_BYTES, MAX_MESSAGES
from services.inference.translation.messages import text

AUTOMATIC_TITLE = 60


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message that is to be stored.

    Attributes:
        body: What was said.
        run_id: The run that said it; empty for what a client says.
        model: The model that said it.
    """

    body: message_pb2.Message
    run_id: str = ""
    model: str = ""


def body(stored: StoredMessage) -> message_pb2.Message:
    """What was said in a stored message."""
    return message_pb2.Message.FromString(stored.body)


def copied(stored: StoredMessage) -> NewMessage:
    """A stored message for another conversation."""
    return NewMessage(body(stored), stored.run_id, stored.model)


def add(
    records: ConversationRecords,
    conversation: StoredConversation,
    messages: Iterable[NewMessage],
    *,
    limited: bool = True,
) -> list[str]:
    """Put messages at the end of a conversation; gives their ids.

    Raises:
        ConversationFull: That is more than it may hold.
    """
    ids: list[str] = []
    for new in messages:
        said = text(new.body.content)
        row = _row(conversation, new, said)
        records.add(row)
        ids.append(row.message_id)
        conversation.message_count += 1
        conversation.bytes += len(row.body)
        conversation.model = new.model or conversation.model
        if not conversation.title and new.body.role == message_pb2.ROLE_USER:
            conversation.call(_title(said))
    if limited and (conversation.message_count > MAX_MESSAGES or conversation.bytes > MAX_BYTES):
        raise ConversationFull(MAX_MESSAGES, MAX_BYTES)
    conversation.changed()
    return ids


def _row(conversation: StoredConversation, new: NewMessage, said: str) -> StoredMessage:
    return StoredMessage(
        conversation_id=conversation.conversation_id,
        position=conversation.message_count,
        message_id=str(ULID()),
        body=new.body.SerializeToString(),
        folded_text=folded(said),
        run_id=new.run_id,
        model=new.model,
        create_time=datetime.now(UTC),
    )


def folded(given: str) -> str:
    """A text as it is searched; PostgreSQL's text cannot hold a NUL."""
    return given.replace("\0", "").casefold()


def _title(said: str) -> str:
    """The beginning of a text, on one line."""
    words = " ".join("".join(each if each.isprintable() else " " for each in said[:TITLE_LENGTH]).split())
    return words if len(words) <= AUTOMATIC_TITLE else f"{words[: AUTOMATIC_TITLE - 1].rstrip()}…"
