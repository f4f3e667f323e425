"""What the control for images does."""

from __future__ import annotations

from typing import Any

import gradio as gr

from web.administration.fields import Fields
from web.pictures import rules
from web.pictures.picture import NAME_CHARACTERS
from web.pictures.view import attachments
from web.seats import Seat, Seats

MOST_FAULTS = 8
FAULT_CHARACTERS = 100 + NAME_CHARACTERS


class PicturesDesk:
    """The handlers of the images that go with a tab's next question."""

    def __init__(self, seats: Seats) -> None:
        """Serve those who sit there."""
        self._seats = seats

    async def act(self, event: gr.EventData, model: str | None, request: gr.Request) -> Any:
        """Add files that were sent, or remove an image; gives what goes with the question now."""
        act, fields = event._data.get("act"), Fields.sent(event._data.get("fields"))
        seat = await self._seats.seat(request)
        faults = [each[:FAULT_CHARACTERS] for each in fields.all("faults")]
        if act == "attach":
            faults += _attach(seat, model, fields.all("ids"))
        elif act == "remove":
            seat.tab.pictures = [each for each in seat.tab.pictures if each.id != fields.text("id")]
        asked = seat.session.model(model)
        return attachments(
            asked, seat.showing(), seat.tab.pictures, faults[:MOST_FAULTS], focus=act == "remove"
        )


def _attach(seat: Seat, name: str | None, ids: list[str]) -> list[str]:
    """Put files beside the question; gives what is wrong with those that cannot be."""
    faults, model = [], seat.session.model(name)
    for picture in filter(None, map(seat.session.tray.take, ids)):
        why = rules.off(model)
        if model is not None and not why:
            why = rules.fault(picture, [*seat.showing().pictures, *seat.tab.pictures], model.image_limits)
        if why:
            faults.append(why)
        elif picture not in seat.tab.pictures:
            seat.tab.pictures.append(picture)
    return faults
