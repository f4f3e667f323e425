from __future__ import annotations

import asyncio

import pytest

from services.inference.resumption.tape import EVENT_BYTES, TAPE_BYTES, BeginningGoneError, Room, Tape

ROOM = 10 * 2**20
SIZE = 100
COST = SIZE + EVENT_BYTES


def event(number: int) -> bytes:
    return str(number).encode().ljust(SIZE)


def tape(room: Room | None = None, events: int = 1000, said: int = 0) -> Tape:
    """A tape that holds so many events, and has taken some."""
    made = Tape(room or Room(ROOM), events * COST)
    for number in range(1, said + 1):
        made.add(event(number))
    return made


async def read(source: Tape, after: int = 0) -> list[bytes]:
    return [each async for each in source.read(after)]


async def test_each_reader_gets_what_comes_after_its_place() -> None:
    source = tape(said=5)
    source.end()
    wanted = [event(number) for number in range(1, 6)]
    assert [await read(source, after) for after in range(7)] == [wanted[after:] for after in range(7)]


async def test_readers_wait_for_what_comes_and_hold_nobody_up() -> None:
    source = tape(said=1)
    readers = [asyncio.create_task(read(source, after)) for after in (0, 0, 1, 2)]
    await asyncio.sleep(0)
    for number in (2, 3):
        source.add(event(number))
    await asyncio.sleep(0)
    source.end()
    assert [len(await reader) for reader in readers] == [3, 3, 2, 1]


async def test_beyond_its_bounds_the_oldest_events_go() -> None:
    room = Room(ROOM)
    source = tape(room, events=3, said=100)
    assert (source.first, source.last) == (98, 100)
    assert room.used == 3 * COST + TAPE_BYTES
    with pytest.raises(BeginningGoneError) as gone:
        await read(source, 96)
    assert gone.value.first == 98
    source.end()
    assert await read(source, 97) == [event(98), event(99), event(100)]


async def test_a_reader_that_falls_behind_is_told() -> None:
    source = tape(events=3, said=3)
    reader = source.read(0)
    assert await anext(reader) == event(1)
    for number in range(4, 10):
        source.add(event(number))
    with pytest.raises(BeginningGoneError):
        await anext(reader)


async def test_one_event_that_is_too_large_is_kept_alone() -> None:
    source = tape(events=3, said=3)
    source.add(b"x" * 100_000)
    assert (source.first, source.last) == (4, 4)


async def test_tapes_share_a_room_and_another_begins_only_where_there_is_some_left() -> None:
    most = 2 * TAPE_BYTES + 10 * COST
    room = Room(most)
    assert room.admits
    first, second = tape(room), tape(room)
    for number in range(1, 51):
        first.add(event(number))
        second.add(event(number))
        assert room.used <= most
    assert not room.admits
    assert (first.last, second.last) == (50, 50)
    first.clear()
    second.clear()
    assert (room.used, room.admits) == (0, True)


def test_a_room_of_no_size_admits_nobody() -> None:
    assert not Room(0).admits


async def test_the_journal_takes_events_in_portions() -> None:
    source = tape(said=5)
    assert [number for number, _ in source.after(1, 2 * SIZE)] == [2, 3]
    assert [number for number, _ in source.after(1, 0)] == [2]
    assert source.after(5, 1000) == []


async def test_waiting_ends_with_the_tape_or_the_time() -> None:
    source = tape(said=1)
    await source.wait_beyond(0)
    await source.wait_beyond(1, seconds=0)
    waiting = asyncio.create_task(source.wait_beyond(1))
    await asyncio.sleep(0)
    source.end()
    await waiting


def test_what_is_kept_beside_a_tape_takes_room_and_no_event_s_place() -> None:
    room = Room(2**20)
    tape = Tape(room, 2 * COST, beside=1000)
    for _ in range(3):
        tape.add(b"x" * (COST - EVENT_BYTES))
    assert (tape.first, room.used) == (2, 1000 + TAPE_BYTES + 2 * COST)
    tape.clear()
    assert room.used == 0
