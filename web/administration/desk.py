"""What the page's controls do in the administration."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

import gradio as gr
import grpc

from parley_client.errors import ParleyError
from web.administration.fields import Fields
from web.administration.room import Room
from web.administration.rooms import ROOMS
from web.administration.visitor import Visitor
from web.advice import alert
from web.playground.room import PlaygroundRoom
from web.seats import Seat, Seats

Entering = Callable[[gr.Request], Coroutine[Any, Any, str]]
Acting = Callable[[gr.EventData, gr.Request], Coroutine[Any, Any, str]]

RoomT = TypeVar("RoomT", bound=Room)

TABS: tuple[type[Room], ...] = (PlaygroundRoom, *ROOMS)
"""The rooms that have a tab of their own, in the order of the tabs."""

NOT_LET_IN = ParleyError(
    grpc.StatusCode.PERMISSION_DENIED, "This is not for you.", reason="PERMISSION_MISSING"
)


class AdministrationDesk:
    """The handlers of the administration."""

    def __init__(self, seats: Seats) -> None:
        """Serve those who sit there."""
        self._seats = seats

    async def open(self, request: gr.Request) -> list[Any]:
        """Which tabs a page that was just loaded has: those of the rooms that let the person in."""
        seat = await self._seats.seat(request)
        try:
            visitor = await self._meet(seat)
        except ParleyError as error:
            await self._seats.let_go(seat.session, error)
            return [gr.Tab(visible=False) for _ in TABS]
        return [gr.Tab(visible=room.lets_in(visitor)) for room in TABS]

    def entering(self, kind: type[Room]) -> Entering:
        """The handler of a tab that was turned to."""

        async def enter(request: gr.Request) -> str:
            return await self._serve(kind, request, lambda room: room.enter())

        return enter

    def acting(self, kind: type[Room]) -> Acting:
        """The handler of what people do in a room."""

        async def act(event: gr.EventData, request: gr.Request) -> str:
            name, fields = str(event._data.get("act")), Fields.sent(event._data.get("fields"))
            return await self._serve(kind, request, lambda room: room.act(name, fields))

        return act

    async def admit(self, kind: type[RoomT], request: gr.Request) -> tuple[Seat, RoomT]:
        """Let a person into a room; gives the seat and the room.

        Raises:
            ParleyError: The room is not for that person, or the platform does not say.
        """
        seat = await self._seats.seat(request)
        visitor = await self.visitor(seat)
        if not kind.lets_in(visitor):
            raise NOT_LET_IN
        room = seat.tab.rooms.setdefault(kind.name, kind(visitor))
        return seat, cast("RoomT", room)

    async def visitor(self, seat: Seat) -> Visitor:
        """Who sits there, as the platform says.

        Raises:
            ParleyError: It does not say.
        """
        try:
            return seat.tab.visitor or await self._meet(seat)
        except ParleyError as error:
            await self._seats.let_go(seat.session, error)
            raise

    async def _serve(
        self, kind: type[Room], request: gr.Request, use: Callable[[Room], Coroutine[Any, Any, str]]
    ) -> str:
        try:
            seat, room = await self.admit(kind, request)
        except ParleyError as error:
            return alert(error)
        shown = await use(room)
        await self._seats.let_go(seat.session, room.trouble)
        return shown

    async def _meet(self, seat: Seat) -> Visitor:
        """Ask the platform who the person is. Rooms that were open close: they were another's view."""
        client = seat.session.client
        who = await client.who_am_i()
        seat.tab.rooms.clear()
        seat.tab.visitor = Visitor(client, who.user_id, who.tenant_id, tuple(who.permissions))
        return seat.tab.visitor
