from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from services.rpc.errors import DeadlineExceeded
from services.tools.call_errors import IdempotencyKeyReused, OutcomeUnknown
from services.tools.errors import ToolFailed
from services.tools.events import Emit, Result, Started
from services.tools.replays import Asked, Replays
from tests.tools.conftest import SECONDS, discard

ADA = ("tenant", "ada", "")
BOB = ("tenant", "bob", "")


def asked(
    key: str = "k", caller: tuple[str, str, str] = ADA, arguments: str = "{}", *, repeatable: bool = False
) -> Asked:
    return Asked(caller, key, "tool", arguments, repeatable)


class Work:
    """A call that can be counted."""

    def __init__(
        self, content: str = "done", error: BaseException | None = None, *, begins: bool = True
    ) -> None:
        self.runs = 0
        self._content = content
        self._error = error
        self._begins = begins

    async def __call__(self, emit: Emit) -> Result:
        self.runs += 1
        if self._begins:
            await emit(Started("tool", 0))
        if self._error:
            raise self._error
        return Result(self._content, 1)


class Waiting:
    """A call that begins and then waits."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, emit: Emit) -> Result:
        await emit(Started("tool", 0))
        self.begun.set()
        await self.go_on.wait()
        return Result("waited", 1)


async def test_a_result_is_given_again() -> None:
    replays, work = Replays(), Work()
    assert await replays.once(asked(), discard, work) == Result("done", 1)
    assert await replays.once(asked(), discard, work) == Result("done", 1, replayed=True)
    assert work.runs == 1


async def test_nobody_gets_anothers_result() -> None:
    replays, work = Replays(), Work()
    await replays.once(asked(), discard, work)
    await replays.once(asked(caller=BOB), discard, work)
    await replays.once(asked(caller=("other", "ada", "")), discard, work)
    await replays.once(asked(caller=("tenant", "ada", "key-1")), discard, work)
    assert work.runs == 4


async def test_a_key_belongs_to_one_call() -> None:
    replays, work = Replays(), Work()
    await replays.once(asked(), discard, work)
    with pytest.raises(IdempotencyKeyReused):
        await replays.once(asked(arguments='{"a": 1}'), discard, work)
    with pytest.raises(IdempotencyKeyReused):
        await replays.once(replace(asked(), conversation_id="c"), discard, work)
    assert work.runs == 1


async def test_results_are_forgotten_in_time() -> None:
    now = 0.0
    replays, work = Replays(seconds=10, clock=lambda: now), Work()
    await replays.once(asked(), discard, work)
    now = 9.9
    await replays.once(asked(), discard, work)
    assert work.runs == 1
    now = 10
    await replays.once(asked(), discard, work)
    assert work.runs == 2


@pytest.mark.parametrize(
    ("error", "begins", "repeatable", "then"),
    [
        (ToolFailed("tool", "no"), True, False, ToolFailed),
        (DeadlineExceeded("late"), True, False, OutcomeUnknown),
        (RuntimeError("bug"), True, False, OutcomeUnknown),
        (ToolFailed("tool", "no"), True, True, None),
        (ToolFailed("tool", "no"), False, False, None),
    ],
)
async def test_failures_are_told_again_where_running_again_could_harm(
    error: Exception, begins: bool, repeatable: bool, then: type[Exception] | None
) -> None:
    replays, good = Replays(), Work()
    with pytest.raises(type(error)):
        await replays.once(asked(repeatable=repeatable), discard, Work(error=error, begins=begins))
    if then is None:
        assert (await replays.once(asked(repeatable=repeatable), discard, good)).content == "done"
        return
    with pytest.raises(then):
        await replays.once(asked(repeatable=repeatable), discard, good)
    assert good.runs == 0


async def test_a_call_that_was_cut_off_is_not_run_again() -> None:
    replays, waiting = Replays(), Waiting()
    first = asyncio.create_task(replays.once(asked(), discard, waiting))
    await waiting.begun.wait()
    second = asyncio.create_task(replays.once(asked(), discard, Work()))
    await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(SECONDS):
        with pytest.raises(OutcomeUnknown):
            await second
    assert first.cancelled()


async def test_who_asks_meanwhile_waits_for_the_first() -> None:
    replays, waiting, work = Replays(), Waiting(), Work()
    first = asyncio.create_task(replays.once(asked(), discard, waiting))
    await waiting.begun.wait()
    others = [asyncio.create_task(replays.once(asked(), discard, work)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(IdempotencyKeyReused):
        await replays.once(asked(arguments="[]"), discard, work)
    waiting.go_on.set()
    async with asyncio.timeout(SECONDS):
        assert [result.replayed for result in await asyncio.gather(first, *others)] == [
            False,
            True,
            True,
            True,
        ]
    assert work.runs == 0


async def test_a_caller_has_so_much_room_and_all_together_so_much() -> None:
    replays, work = Replays(bytes_per_caller=4000, total_bytes=6000), Work("x" * 1000)
    for key in "abc":
        await replays.once(asked(key), discard, work)
    await replays.once(asked("a"), discard, work)
    assert work.runs == 4  # the caller's oldest had given way
    await replays.once(asked("b", BOB), discard, work)
    await replays.once(asked("c", BOB), discard, work)
    assert replays.size_bytes <= 6000
    await replays.once(asked("c", BOB), discard, work)
    assert work.runs == 6


async def test_a_result_that_is_too_large_to_keep_is_not_run_again_where_that_could_harm() -> None:
    replays, work = Replays(bytes_per_caller=2000), Work("x" * 5000)
    await replays.once(asked(), discard, work)
    with pytest.raises(OutcomeUnknown):
        await replays.once(asked(), discard, work)
    await replays.once(asked("safe", repeatable=True), discard, work)
    await replays.once(asked("safe", repeatable=True), discard, work)
    assert work.runs == 3


async def test_nothing_is_left_of_what_is_forgotten() -> None:
    now = 0.0
    replays = Replays(seconds=1, clock=lambda: now)
    for number in range(100):
        await replays.once(asked(f"{number}", ("t", f"{number}", "")), discard, Work())
    now = 2
    await replays.once(asked("last"), discard, Work())
    assert replays.size_bytes < 1000
