"""The caller's stored conversations.

made = await client.conversations.create(title="Rome")
request = question("What shall I see?")
request.conversation_id, request.continue_conversation = made.conversation_id, True
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from parley.inference.v1 import conversation_pb2, message_pb2
from parley.inference.v1 import conversation_service_pb2 as pb2
from parley.inference.v1.conversation_service_pb2_grpc import ConversationServiceStub
from parley_client.caller import Caller
from parley_client.stream import EventStream


class Conversations:
    """What `ConversationService` keeps for one caller.

    Lists come a page at a time; `parley_client.caller.pages` gives them all.
    Every method raises `ParleyError` when the call does not end well.
    """

    def __init__(self, channel: grpc.aio.Channel, caller: Caller) -> None:
        self._caller = caller
        self._stub = ConversationServiceStub(channel)

    async def create(
        self, *, title: str = "", messages: Sequence[message_pb2.Message] = (), conversation_id: str = ""
    ) -> conversation_pb2.Conversation:
        """Begins a conversation. With an id of one's own, a ULID, it may be asked again."""
        request = pb2.CreateConversationRequest(
            title=title, messages=messages, conversation_id=conversation_id
        )
        return (await self._caller.unary(self._stub.CreateConversation, request)).conversation

    async def get(self, conversation_id: str) -> conversation_pb2.Conversation:
        """Gives a conversation, without its messages."""
        request = pb2.GetConversationRequest(conversation_id=conversation_id)
        return (await self._caller.unary(self._stub.GetConversation, request)).conversation

    async def list(self, request: pb2.ListConversationsRequest) -> pb2.ListConversationsResponse:
        """Lists conversations, the one that was changed last first."""
        return await self._caller.unary(self._stub.ListConversations, request)

    async def messages(self, request: pb2.ListMessagesRequest) -> pb2.ListMessagesResponse:
        """Lists what was said in a conversation, oldest first."""
        return await self._caller.unary(self._stub.ListMessages, request)

    async def search(self, request: pb2.SearchMessagesRequest) -> pb2.SearchMessagesResponse:
        """Finds what was said, newest first."""
        return await self._caller.unary(self._stub.SearchMessages, request)

    async def append(
        self, conversation_id: str, messages: Sequence[message_pb2.Message], *, after_message_id: str = ""
    ) -> Sequence[str]:
        """Adds messages to the end of a conversation; gives their ids."""
        request = pb2.AppendMessagesRequest(
            conversation_id=conversation_id, messages=messages, after_message_id=after_message_id
        )
        return (await self._caller.unary(self._stub.AppendMessages, request)).message_ids

    async def branch(
        self, conversation_id: str, message_id: str, *, title: str = ""
    ) -> conversation_pb2.Conversation:
        """Begins a conversation with what another one holds up to a message."""
        request = pb2.BranchConversationRequest(
            conversation_id=conversation_id, message_id=message_id, title=title
        )
        return (await self._caller.unary(self._stub.BranchConversation, request)).conversation

    async def rename(self, conversation_id: str, title: str) -> conversation_pb2.Conversation:
        """Gives a conversation another title."""
        request = pb2.RenameConversationRequest(conversation_id=conversation_id, title=title)
        return (await self._caller.unary(self._stub.RenameConversation, request)).conversation

    async def delete(self, conversation_id: str) -> None:
        """Deletes a conversation, if it is there."""
        request = pb2.DeleteConversationRequest(conversation_id=conversation_id)
        await self._caller.unary(self._stub.DeleteConversation, request)

    def export(self, request: pb2.ExportConversationsRequest) -> EventStream[bytes]:
        """Gives conversations as a file, piece by piece."""
        return self._caller.stream(self._stub.ExportConversations, request, lambda answer: bytes(answer.data))
