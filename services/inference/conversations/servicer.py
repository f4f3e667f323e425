"""Serves `parley.inference.v1.ConversationService`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence

from google.api import httpbody_pb2

from parley.inference.v1 import conversation_service_pb2 as pb2
from parley.inference.v1 import message_pb2
from parley.inference.v1.conversation_service_pb2_grpc import ConversationServiceServicer
from services.inference.conversations.errors import ConversationsOff
from services.inference.conversations.export import CONTENT_TYPES, exported
from services.inference.conversations.library import ConversationLibrary
from services.inference.conversations.messages import NewMessage, body, folded
from services.inference.conversations.models import StoredMessage
from services.inference.conversations.show import conversation_message, stored_message
from services.inference.messages import check_answers
from services.inference.runs.registry import Owner
from services.inference.translation import messages as translate_messages
from services.rpc.call import current_principal
from services.rpc.interceptors.around import Context
from services.rpc.listing import Listing
from services.rpc.pages import PageTokens

# Of the messages in a page, beyond the first.
PAGE_BYTES = 2 * 2**20
AROUND_FIND = 100
SNIPPET = 400


class ConversationServicer(ConversationServiceServicer):
    """Translates between the contract and `ConversationLibrary`."""

    def __init__(self, library: ConversationLibrary | None, pages: PageTokens) -> None:
        """Serve these conversations.

        Args:
            library: Keeps them; None where the deployment has no database.
            pages: Makes and reads page tokens.
        """
        self._kept = library
        self._pages = pages

    @property
    def _library(self) -> ConversationLibrary:
        """What keeps the conversations.

        Raises:
            ConversationsOff: Nothing does.
        """
        if self._kept is None:
            raise ConversationsOff
        return self._kept

    async def CreateConversation(
        self, request: pb2.CreateConversationRequest, context: Context
    ) -> pb2.CreateConversationResponse:
        """See the contract."""
        messages = _new(request.messages)
        made = await self._library.create(_owner(), request.conversation_id, request.title, messages)
        return pb2.CreateConversationResponse(conversation=conversation_message(made))

    async def GetConversation(
        self, request: pb2.GetConversationRequest, context: Context
    ) -> pb2.GetConversationResponse:
        """See the contract."""
        found = await self._library.get(_owner(), request.conversation_id)
        return pb2.GetConversationResponse(conversation=conversation_message(found))

    async def ListConversations(
        self, request: pb2.ListConversationsRequest, context: Context
    ) -> pb2.ListConversationsResponse:
        """See the contract."""
        listing = Listing(self._pages, request, current_principal())
        found = await self._library.page(_owner(), request.title_contains, listing.after, listing.fetched)
        shown, token = listing.cut(found, lambda each: each.change_id)
        return pb2.ListConversationsResponse(
            conversations=map(conversation_message, shown), next_page_token=token
        )

    async def SearchMessages(
        self, request: pb2.SearchMessagesRequest, context: Context
    ) -> pb2.SearchMessagesResponse:
        """See the contract."""
        listing = Listing(self._pages, request, current_principal())
        rows = await self._library.search(
            _owner(), request.query, request.conversation_id, listing.after, listing.fetched
        )
        shown, token = listing.cut(rows, lambda row: row[0].message_id)
        return pb2.SearchMessagesResponse(
            found=[_find(row[0], row[1], request.query) for row in shown], next_page_token=token
        )

    async def RenameConversation(
        self, request: pb2.RenameConversationRequest, context: Context
    ) -> pb2.RenameConversationResponse:
        """See the contract."""
        renamed = await self._library.rename(_owner(), request.conversation_id, request.title)
        return pb2.RenameConversationResponse(conversation=conversation_message(renamed))

    async def DeleteConversation(
        self, request: pb2.DeleteConversationRequest, context: Context
    ) -> pb2.DeleteConversationResponse:
        """See the contract."""
        await self._library.delete(_owner(), request.conversation_id)
        return pb2.DeleteConversationResponse()

    async def ListMessages(
        self, request: pb2.ListMessagesRequest, context: Context
    ) -> pb2.ListMessagesResponse:
        """See the contract."""
        listing = Listing(self._pages, request, current_principal())
        after = int(listing.after) if listing.after else -1
        found = await self._library.messages(_owner(), request.conversation_id, after, listing.fetched)
        shown, token = listing.cut(found, lambda each: str(each.position), fits=_fitting(found))
        return pb2.ListMessagesResponse(messages=map(stored_message, shown), next_page_token=token)

    async def AppendMessages(
        self, request: pb2.AppendMessagesRequest, context: Context
    ) -> pb2.AppendMessagesResponse:
        """See the contract."""
        conversation, ids = await self._library.append(
            _owner(), request.conversation_id, _new(request.messages), request.after_message_id
        )
        return pb2.AppendMessagesResponse(conversation=conversation_message(conversation), message_ids=ids)

    async def BranchConversation(
        self, request: pb2.BranchConversationRequest, context: Context
    ) -> pb2.BranchConversationResponse:
        """See the contract."""
        made = await self._library.branch(
            _owner(), request.conversation_id, request.message_id, request.title
        )
        return pb2.BranchConversationResponse(conversation=conversation_message(made))

    async def ExportConversations(
        self, request: pb2.ExportConversationsRequest, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """See the contract."""
        content_type = CONTENT_TYPES[request.format]
        async for piece in exported(self._library, _owner(), list(request.conversation_ids), request.format):
            yield httpbody_pb2.HttpBody(content_type=content_type, data=piece)
            content_type = ""
        if content_type:
            yield httpbody_pb2.HttpBody(content_type=content_type)


def _owner() -> Owner:
    return Owner.of(current_principal())


def _new(given: Iterable[message_pb2.Message]) -> list[NewMessage]:
    """What a client wants stored.

    Raises:
        MessagesInvalid: No conversation can be made up of it.
    """
    messages = list(given)
    check_answers([translate_messages.message(each) for each in messages])
    return list(map(NewMessage, messages))


def _fitting(found: Sequence[StoredMessage]) -> int:
    """How many of the first messages a page can hold: one at least."""
    total = 0
    for at, each in enumerate(found):
        total += len(each.body)
        if at and total > PAGE_BYTES:
            return at
    return len(found)


def _find(stored: StoredMessage, title: str, query: str) -> pb2.MessageFound:
    message = body(stored)
    said = translate_messages.text(message.content)
    # Folding may change a text's length; then the snippet lies a little beside.
    start = max(0, folded(said).find(folded(query)) - AROUND_FIND)
    return pb2.MessageFound(
        conversation_id=stored.conversation_id,
        title=title,
        message_id=stored.message_id,
        role=message.role,
        snippet=said[start : start + min(SNIPPET, len(query) + 2 * AROUND_FIND)],
    )
