"""Writes conversations to a file, a conversation at a time."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence

from google.protobuf import json_format

from parley.inference.v1 import conversation_pb2, message_pb2
from parley.inference.v1 import conversation_service_pb2 as pb2
from services.inference.conversations.errors import ConversationNotFound
from services.inference.conversations.library import ConversationLibrary
from services.inference.conversations.models import StoredConversation
from services.inference.conversations.show import conversation_message, stored_message
from services.inference.history import MAX_MESSAGES
from services.inference.runs.registry import Owner

CONTENT_TYPES = {
    pb2.EXPORT_FORMAT_UNSPECIFIED: "application/jsonl; charset=utf-8",
    pb2.EXPORT_FORMAT_JSON_LINES: "application/jsonl; charset=utf-8",
    pb2.EXPORT_FORMAT_MARKDOWN: "text/markdown; charset=utf-8",
}
SPEAKERS = {
    message_pb2.ROLE_SYSTEM: "Instructions",
    message_pb2.ROLE_USER: "User",
    message_pb2.ROLE_ASSISTANT: "Assistant",
    message_pb2.ROLE_TOOL: "Tool",
}
BATCH = 100
PIECE_BYTES = 256 * 2**10


async def exported(
    library: ConversationLibrary, owner: Owner, conversation_ids: Sequence[str], form: int
) -> AsyncIterator[bytes]:
    """The bytes of the file, in pieces that fit a message.

    Raises:
        ConversationNotFound: The owner has none of an id.
    """
    async for conversation in _chosen(library, owner, conversation_ids):
        try:
            stored = await library.messages(owner, conversation.conversation_id, -1, MAX_MESSAGES)
        except ConversationNotFound:
            continue  # Deleted since it was listed.
        whole = conversation_pb2.ConversationExport(
            conversation=conversation_message(conversation), messages=map(stored_message, stored)
        )
        written = _markdown(whole) if form == pb2.EXPORT_FORMAT_MARKDOWN else _line(whole)
        for start in range(0, len(written), PIECE_BYTES):
            yield written[start : start + PIECE_BYTES]


async def _chosen(
    library: ConversationLibrary, owner: Owner, conversation_ids: Sequence[str]
) -> AsyncIterator[StoredConversation]:
    """Those that are named, or all."""
    for conversation in [await library.get(owner, each) for each in conversation_ids]:
        yield conversation
    after, more = "", not conversation_ids
    while more:
        page = await library.page(owner, "", after, BATCH)
        for conversation in page:
            yield conversation
        more = len(page) == BATCH
        after = page[-1].change_id if page else ""


def _line(whole: conversation_pb2.ConversationExport) -> bytes:
    return json_format.MessageToJson(whole, indent=None, ensure_ascii=False).encode() + b"\n"


def _markdown(whole: conversation_pb2.ConversationExport) -> bytes:
    conversation = whole.conversation
    parts = [f"# {conversation.title or conversation.conversation_id}"]
    parts.extend(_paragraph(each) for each in whole.messages)
    return ("\n\n".join(parts) + "\n\n").encode()


def _paragraph(stored: conversation_pb2.StoredMessage) -> str:
    message = stored.message
    speaker = f"{SPEAKERS[message.role]} ({stored.model})" if stored.model else SPEAKERS[message.role]
    calls = [f"Called `{call.name}` with\n\n{_fenced(call.arguments)}" for call in message.tool_calls]
    said = "".join(map(_written, message.content))
    if message.role == message_pb2.ROLE_TOOL:
        said = _fenced(said)
    return "\n\n".join([f"**{speaker}**", *filter(None, [said]), *calls])


def _written(part: message_pb2.ContentPart) -> str:
    """A part as text; of an image, that there was one."""
    return f"[{part.image.media_type}]" if part.HasField("image") else part.text


def _fenced(code: str) -> str:
    """A block of code whose fence is longer than any within."""
    longest = max(map(len, re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{code}\n{fence}"
