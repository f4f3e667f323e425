"""What every room does alike."""

from __future__ import annotations

import pytest

from tests.web.administration.conftest import Visit, text
from web.administration.room import Room
from web.administration.rooms import ROOMS


@pytest.mark.parametrize("kind", ROOMS, ids=lambda kind: kind.name)
async def test_a_room_can_be_drawn(kind: type[Room], visit: Visit) -> None:
    shown = await text(kind(visit("*")))
    assert kind.label in shown
