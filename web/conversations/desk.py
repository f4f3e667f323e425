"""What the page's controls do with conversations: turn to one, begin one, change the list."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import gradio as gr

from parley_client.errors import ParleyError
from web.administration.desk import AdministrationDesk
from web.administration.fields import Fields
from web.advice import alert
from web.chat_view import conversation_messages
from web.conversations.room import ConversationsRoom
from web.feedback_view import feedback
from web.pictures.view import attachments
from web.seats import Seat, Seats
from web.status_view import status_line

MEET_SECONDS = 5.0
"""Time that a question waits to hear who asks it. Without an answer it is stored nowhere."""

Update = Any
"""What Gradio takes for a component: a value, a component's new properties, or `gr.skip()`."""


class ConversationsDesk:
    """The handlers of the side and of the bar. Each gives chat, side, status, approvals, Clear and images."""

    def __init__(self, seats: Seats, administration: AdministrationDesk) -> None:
        """Serve those who sit there and whom the administration knows."""
        self._seats = seats
        self._administration = administration

    async def open(self, request: gr.Request) -> tuple[Update, Update]:
        """Fill the side of a page that was just loaded; gives it and Clear."""
        seat = await self._seats.seat(request)
        side = await self.refreshed(seat)
        return side, _clear(seat)

    async def meet(self, seat: Seat) -> None:
        """Know whether the person may store anything, before the first thing is said."""
        with suppress(ParleyError, TimeoutError):
            async with asyncio.timeout(MEET_SECONDS):
                await self._room(seat)

    async def refreshed(self, seat: Seat) -> Update:
        """The side as the platform has it now."""
        try:
            room = await self._room(seat)
        except ParleyError as error:
            return alert(error)
        shown = await room.refresh()
        await self._seats.let_go(seat.session, room.trouble)
        return shown

    def picture(self, seat: Seat) -> Update:
        """The side as far as it is known, without asking."""
        room = seat.tab.rooms.get(ConversationsRoom.name)
        return room.picture() if isinstance(room, ConversationsRoom) else gr.skip()

    async def act(self, event: gr.EventData, model: str | None, request: gr.Request) -> tuple[Update, ...]:
        """Do what a person did in the side. What runs in the conversation on show is left alone."""
        name, fields = str(event._data.get("act")), Fields.sent(event._data.get("fields"))
        seat = await self._seats.seat(request)
        try:
            room = await self._room(seat)
        except ParleyError as error:
            return gr.skip(), alert(error), gr.skip(), gr.skip(), gr.skip(), gr.skip()
        before = seat.showing()
        side = await room.act(name, fields)
        await self._seats.let_go(seat.session, room.trouble)
        if seat.showing() is before:
            return gr.skip(), side, gr.skip(), gr.skip(), _clear(seat), gr.skip()
        return _turned(seat, side, model)

    async def begin(self, model: str | None, request: gr.Request) -> tuple[Update, ...]:
        """Show a new conversation."""
        seat = await self._seats.seat(request)
        await seat.tab.turn_to(seat.session.begin().id)
        return _turned(seat, self.picture(seat), model)

    async def clear(self, model: str | None, request: gr.Request) -> tuple[Update, ...]:
        """Forget what the conversation on show holds, if nobody stores it."""
        seat = await self._seats.seat(request)
        conversation = seat.showing()
        if conversation.stored:
            return await self.begin(model, request)
        await seat.session.stop_answering(conversation.id)
        conversation.turns.clear()
        return _turned(seat, self.picture(seat), model)

    async def _room(self, seat: Seat) -> ConversationsRoom:
        """What this tab's side shows.

        Raises:
            ParleyError: The platform does not say who the person is.
        """
        visitor = await self._administration.visitor(seat)
        room = seat.tab.rooms.get(ConversationsRoom.name)
        if not isinstance(room, ConversationsRoom):
            room = ConversationsRoom(visitor, seat.session, seat.tab)
            seat.tab.rooms[ConversationsRoom.name] = room
        return room


def _turned(seat: Seat, side: Update, model: str | None) -> tuple[Update, ...]:
    """The conversation that the tab shows now."""
    conversation, asked = seat.showing(), seat.session.model(model)
    return (
        conversation_messages(conversation),
        side,
        status_line(asked, conversation.newest),
        feedback(conversation.newest),
        _clear(seat),
        attachments(asked, conversation, seat.tab.pictures),
    )


def _clear(seat: Seat) -> Update:
    """Clear, where nothing but this login would forget."""
    return gr.Button(visible=not seat.showing().stored)
