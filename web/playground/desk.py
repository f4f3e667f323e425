"""What the page's controls do in the playground."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import gradio as gr

from parley_client.errors import ParleyError
from web.administration.desk import AdministrationDesk
from web.administration.fields import Fields
from web.advice import alert
from web.playground.room import PlaygroundRoom
from web.playground.trial import Trial
from web.playground.view import trial_html
from web.run import Run
from web.seats import Seat, Seats

Update = Any
"""What Gradio takes for a component: a value, or `gr.skip()`."""


class PlaygroundDesk:
    """The handlers of the playground."""

    def __init__(
        self, seats: Seats, administration: AdministrationDesk, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Serve those whom the administration lets in; `clock` gives seconds of a steady clock."""
        self._seats = seats
        self._administration = administration
        self._clock = clock

    async def enter(self, request: gr.Request) -> str:
        """Show the form to a person who turned to the tab."""
        try:
            seat, room = await self._administration.admit(PlaygroundRoom, request)
        except ParleyError as error:
            return alert(error)
        shown = await room.enter()
        await self._seats.let_go(seat.session, room.trouble)
        return shown

    async def act(self, event: gr.EventData, request: gr.Request) -> AsyncIterator[tuple[Update, Update]]:
        """Do what a person did in the form; gives the form, and what came of a call."""
        name, fields = str(event._data.get("act")), Fields.sent(event._data.get("fields"))
        try:
            seat, room = await self._administration.admit(PlaygroundRoom, request)
        except ParleyError as error:
            yield alert(error), gr.skip()
            return
        if name == "stop":
            # Whoever shows the call shows its end, too.
            if seat.tab.trial is not None:
                await seat.tab.trial.stop()
            yield gr.skip(), gr.skip()
            return
        shown = await room.act(name, fields)
        await self._seats.let_go(seat.session, room.trouble)
        if room.asked is None:
            yield shown, gr.skip()
            return
        async for update in self._call(seat, room, room.asked, shown):
            yield update

    async def _call(
        self, seat: Seat, room: PlaygroundRoom, asked: str, shown: str
    ) -> AsyncIterator[tuple[Update, Update]]:
        """Call the tool and show what happens until its end."""
        stream = seat.session.client.execute(room.tool, asked)
        trial = Run(room.tool, Trial(room.tool), stream, clock=self._clock)
        seat.tab.trial = trial
        try:
            yield shown, trial_html(trial.answer)
            async for _ in trial.pictures():
                yield gr.skip(), trial_html(trial.answer)
        finally:
            # The page was closed, or Gradio closed this generator: end the tool.
            await trial.stop()
            room.calling = False
        await self._seats.let_go(seat.session, trial.answer.error)
        yield await room.act("ended", Fields()), trial_html(trial.answer)
