"""Seats: their number, their queue, and who is next."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from services.inference.seating.seats import Seats, Share
from services.rpc.errors import Overloaded
from tests.conftest import TokenMaker

ADA, BOB, EVE = Share("ada"), Share("bob"), Share("eve", weight=2)


class Room:
    """Callers who sit down in the order of `seated` and stay until they are told."""

    def __init__(self, seats: Seats) -> None:
        self.seats = seats
        self.seated: list[str] = []
        self._leaving: dict[int, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def ask(self, share: Share, places: int = 1) -> int:
        """Have a caller ask for seats; gives the visit's number."""
        number = len(self._tasks)
        self._leaving[number] = asyncio.Event()
        self._tasks.append(asyncio.create_task(self._visit(share, number, places)))
        await self.settle()
        return number

    async def _visit(self, share: Share, number: int, places: int) -> None:
        async with self.seats.seat(share, places):
            self.seated.append(share.caller)
            await self._leaving[number].wait()

    async def leave(self, number: int) -> None:
        self._leaving[number].set()
        await self.settle()

    async def cancel(self, *numbers: int) -> None:
        for number in numbers:
            self._tasks[number].cancel()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def room() -> Any:
    room = Room(Seats(1, max_waiting=16))
    yield room
    await room.end()
    assert (room.seats.taken, room.seats.waiting) == (0, 0)


async def test_one_more_than_the_seats_waits(room: Room) -> None:
    first = await room.ask(ADA)
    await room.ask(BOB)
    assert (room.seated, room.seats.taken, room.seats.waiting) == (["ada"], 1, 1)
    await room.leave(first)
    assert (room.seated, room.seats.waiting) == (["ada", "bob"], 0)


async def test_a_caller_with_many_requests_does_not_keep_others_waiting(room: Room) -> None:
    first = await room.ask(ADA)
    for _ in range(3):
        await room.ask(ADA)
    await room.ask(BOB)
    await room.leave(first)
    for number in range(1, 5):
        await room.leave(number)
    assert room.seated.index("bob") <= 2


async def test_seats_go_to_who_holds_the_least(room: Room) -> None:
    room.seats.resize(2)
    numbers = [await room.ask(ADA), await room.ask(ADA)]
    await room.ask(ADA)
    await room.ask(BOB)
    await room.leave(numbers[0])
    assert room.seated == ["ada", "ada", "bob"]


async def test_twice_the_weight_gets_twice_the_seats(room: Room) -> None:
    room.seats.resize(3)
    first = [await room.ask(BOB) for _ in range(3)]
    for share in (ADA, ADA, ADA, EVE, EVE, EVE):
        await room.ask(share)
    for number in first:
        await room.leave(number)
    assert sorted(room.seated[3:]) == ["ada", "eve", "eve"]


async def test_who_goes_away_in_the_queue_leaves_its_place(room: Room) -> None:
    first = await room.ask(ADA)
    second = await room.ask(BOB)
    await room.ask(EVE)
    await room.cancel(second)
    assert room.seats.waiting == 1
    await room.leave(first)
    assert room.seated == ["ada", "eve"]


async def test_who_goes_away_in_the_moment_of_its_turn_frees_the_seat(room: Room) -> None:
    first = await room.ask(ADA)
    second = await room.ask(BOB)
    await room.ask(EVE)
    room._leaving[first].set()
    await room.cancel(first, second)
    assert room.seated == ["ada", "eve"]


async def test_more_seats_let_in_who_waits(room: Room) -> None:
    for share in (ADA, BOB, EVE):
        await room.ask(share)
    room.seats.resize(3)
    await room.settle()
    assert room.seated == ["ada", "bob", "eve"]


async def test_a_request_for_several_answers_takes_a_seat_for_each(room: Room) -> None:
    room.seats.resize(4)
    first = await room.ask(ADA, 3)
    second = await room.ask(BOB, 2)
    assert (room.seats.taken, room.seats.waiting) == (3, 1)
    await room.leave(first)
    assert (room.seated, room.seats.taken) == (["ada", "bob"], 2)
    await room.leave(second)
    assert room.seats.taken == 0


async def test_requests_for_one_answer_do_not_go_ahead_of_one_for_several_for_ever(room: Room) -> None:
    room.seats.resize(2)
    numbers = [await room.ask(ADA), await room.ask(ADA)]
    await room.ask(BOB, 2)
    await room.ask(EVE)
    await room.leave(numbers[0])
    assert (room.seats.taken, room.seats.waiting) == (1, 2)
    await room.leave(numbers[1])
    assert room.seated == ["ada", "ada", "bob"]


async def test_seats_that_were_kept_for_who_goes_away_are_given_to_others(room: Room) -> None:
    room.seats.resize(2)
    await room.ask(ADA)
    several = await room.ask(BOB, 2)
    await room.ask(EVE)
    assert room.seated == ["ada"]
    await room.cancel(several)
    assert room.seated == ["ada", "eve"]


async def test_more_answers_than_there_are_seats_take_all_of_them(room: Room) -> None:
    number = await room.ask(ADA, 16)
    assert (room.seated, room.seats.taken) == (["ada"], 1)
    await room.leave(number)
    assert room.seats.taken == 0


async def test_the_queue_ends_somewhere() -> None:
    seats = Seats(1, max_waiting=0)
    async with seats.seat(ADA):
        with pytest.raises(Overloaded) as caught:
            seats.refuse_hopeless(BOB, 60)
        with pytest.raises(Overloaded):
            async with seats.seat(BOB):
                raise AssertionError
    assert caught.value.retry_after is not None
    seats.refuse_hopeless(BOB, 60)


async def test_one_caller_cannot_fill_the_queue(room: Room) -> None:
    for _ in range(1 + 8):
        await room.ask(ADA)
    with pytest.raises(Overloaded, match="of yours"):
        room.seats.refuse_hopeless(ADA, 60)
    room.seats.refuse_hopeless(BOB, 60)


async def test_a_request_that_cannot_meet_its_deadline_is_refused_with_the_time_to_wait() -> None:
    times = iter((0.0, 0.0, 20.0, 20.0, 20.0, 20.0))
    seats = Seats(1, max_waiting=16, clock=lambda: next(times))
    async with seats.seat(ADA):
        seats.refuse_hopeless(BOB, 0.1)  # nothing is known yet
    async with seats.seat(ADA):
        with pytest.raises(Overloaded, match="free in about 20") as caught:
            seats.refuse_hopeless(BOB, 19)
        seats.refuse_hopeless(BOB, 21)
    assert caught.value.retry_after == timedelta(seconds=20)


def test_the_greatest_weight_of_a_callers_roles_counts(tokens: TokenMaker) -> None:
    principal = tokens.principal(roles=("operator", "user"))
    assert Share.of(principal, {"user": 0.5, "operator": 4}) == Share("tenant-1/user-1", 4)
    assert Share.of(principal, {"admin": 9}) == Share("tenant-1/user-1", 1)
