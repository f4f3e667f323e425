"""Stored conversations as the contract shows them."""

from __future__ import annotations

from parley.inference.v1 import conversation_pb2
from services.inference.conversations.library import is_busy
from services.inference.conversations.messages import body
from services.inference.conversations.models import StoredConversation, StoredMessage
from services.inference.translation.events import timestamp


def conversation_message(stored: StoredConversation) -> conversation_pb2.Conversation:
    """A conversation."""
    shown = conversation_pb2.Conversation(
        conversation_id=stored.conversation_id,
        title=stored.title,
        model=stored.model,
        message_count=stored.message_count,
        create_time=timestamp(stored.create_time),
        update_time=timestamp(stored.update_time),
        busy=is_busy(stored),
    )
    if stored.origin_conversation_id:
        shown.origin.conversation_id = stored.origin_conversation_id
        shown.origin.message_id = stored.origin_message_id
    return shown


def stored_message(stored: StoredMessage) -> conversation_pb2.StoredMessage:
    """A message of one."""
    return conversation_pb2.StoredMessage(
        message_id=stored.message_id,
        message=body(stored),
        run_id=stored.run_id,
        model=stored.model,
        create_time=timestamp(stored.create_time),
    )
