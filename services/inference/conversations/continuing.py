"""A chat that goes on with a stored conversation: what it is given before, and what is kept after."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import structlog
from google.rpc import status_pb2

from services.inference.conversations.errors import ConversationsOff
from services.inference.conversations.library import ConversationLibrary, Hold
from services.inference.conversations.messages import NewMessage
from services.inference.engine.turn import Message
from services.inference.errors import ConversationFull
from services.inference.history import MAX_BYTES, MAX_MESSAGES
from services.inference.resumption.errors import RunLost
from services.inference.runs.order import ChatOrder
from services.inference.runs.registry import Owner
from services.inference.takeovers.past import Past
from services.inference.translation import messages as translate_messages
from services.rpc.call import current_principal
from services.rpc.errors import ServiceError

# A hold outlives the run, which needs time to end.
MARGIN_SECONDS = 60.0


class Continuation:
    """One chat's part in its conversation.

    Attributes:
        order: What is asked for, with all that was said before.
    """

    def __init__(
        self, order: ChatOrder, library: ConversationLibrary | None = None, hold: Hold | None = None
    ) -> None:
        """Go on with what is held; without a hold there is nothing to keep."""
        self.order = order
        self._asked = order.messages
        self._library = library
        self._hold = hold
        self._log = structlog.get_logger("parley.inference")
        if hold is not None:
            before = tuple(map(translate_messages.message, hold.messages))
            self.order = replace(order, messages=(*before, *order.messages))

    async def keep(self, run_id: str, model: str, said: tuple[Message, ...]) -> status_pb2.Status | None:
        """Add what was asked and said to the conversation, once, and let others add to it.

        Args:
            run_id: The run that said it.
            model: Its model.
            said: What was said; where it is nothing, nothing is added.

        Returns:
            Why it could not be done; None where it was, or was not asked for.
        """
        hold, self._hold = self._hold, None
        if hold is None or self._library is None:
            return None
        asked = [NewMessage(translate_messages.stored(each)) for each in self._asked] if said else []
        spoken = [NewMessage(translate_messages.stored(each), run_id, model) for each in said]
        try:
            await self._library.release(hold, [*asked, *spoken])
        except ServiceError as error:
            self._log.warning("conversation not kept", run_id=run_id, reason=error.reason_name())
            return error.to_status()
        return None


class Continuing:
    """Begins chats within their conversations."""

    def __init__(self, library: ConversationLibrary | None) -> None:
        """Use these conversations; None where the deployment stores none."""
        self._library = library

    @asynccontextmanager
    async def continuation(
        self, order: ChatOrder, writer: str = "", past: Past | None = None
    ) -> AsyncIterator[Continuation]:
        """The part of a chat in its conversation, which nobody else adds to until the block ends.

        Args:
            order: What is asked for.
            writer: Who adds to it, as the run's journal knows them; empty where nobody can take the run over.
            past: What a run was that goes on here; None for a new one.

        Raises:
            ConversationsOff: The deployment stores none.
            ConversationNotFound: The caller has none of this id.
            ConversationBusy: Another run adds to it.
            ConversationFull: It has no room.
            RunLost: The replica before kept what was said, or let others add to it.
        """
        if not order.continues:
            yield Continuation(order)
            return
        if self._library is None:
            raise ConversationsOff
        hold = await _held(self._library, order, writer, past)
        continuation = Continuation(order, self._library, hold)
        try:
            _refuse_full(hold, order)
            yield continuation
        finally:
            await continuation.keep("", "", ())


async def _held(library: ConversationLibrary, order: ChatOrder, writer: str, past: Past | None) -> Hold:
    """Hold what is gone on with: a run that was taken over, in the place of who wrote it before."""
    owner, seconds = Owner.of(current_principal()), order.limits.max_seconds + MARGIN_SECONDS
    if past is None:
        return await library.hold(owner, order.conversation_id, seconds, writer)
    hold = await library.take_over(owner, order.conversation_id, past.writer, writer, seconds)
    if hold is None:
        raise RunLost(past.run_id)
    return hold


def _refuse_full(hold: Hold, order: ChatOrder) -> None:
    """Refuse to ask what cannot be kept.

    Raises:
        ConversationFull: It has no room for what is asked and an answer.
    """
    size = sum(each.ByteSize() for each in hold.messages)
    if len(hold.messages) + len(order.messages) >= MAX_MESSAGES or size >= MAX_BYTES:
        raise ConversationFull(MAX_MESSAGES, MAX_BYTES)
