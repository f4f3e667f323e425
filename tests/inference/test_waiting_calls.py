from __future__ import annotations

import asyncio

from services.inference.calling.waiting_calls import ClientResult, Decision, Delivery, Outcome, WaitingCalls

YES, NO = Decision(approved=True), Decision(approved=False)
TAKEN, NOT_WAITING = Delivery(Outcome.TAKEN), Delivery(Outcome.NOT_WAITING)
PERMISSION = "tools.utility.python_run"


async def test_an_answer_reaches_who_waits() -> None:
    calls = WaitingCalls()
    calls.expect("a", ClientResult, 60)
    waiting = asyncio.create_task(calls.wait("a"))
    assert calls.answer("a", ClientResult("12"), ()) == TAKEN
    assert await asyncio.wait_for(waiting, 5) == ClientResult("12")


async def test_an_answer_may_come_before_anyone_waits() -> None:
    calls = WaitingCalls()
    calls.expect("a", ClientResult, 60)
    calls.answer("a", ClientResult("12"), ())
    assert await asyncio.wait_for(calls.wait("a"), 5) == ClientResult("12")


async def test_the_same_answer_again_is_taken_and_another_is_not() -> None:
    calls = WaitingCalls()
    calls.expect("a", Decision, 60)
    assert [calls.answer("a", NO, ()), calls.answer("a", NO, ()), calls.answer("a", YES, ())] == [
        TAKEN,
        TAKEN,
        NOT_WAITING,
    ]
    assert await calls.wait("a") == NO
    assert calls.answer("a", NO, ()) == TAKEN


async def test_unknown_calls_and_wrong_kinds_do_not_wait() -> None:
    calls = WaitingCalls()
    calls.expect("a", Decision, 60)
    assert calls.answer("b", YES, ()) == NOT_WAITING
    assert calls.answer("a", ClientResult("12"), ()) == NOT_WAITING


async def test_who_lets_it_run_needs_the_permission_and_who_denies_does_not() -> None:
    calls = WaitingCalls()
    for call_id in ("a", "b"):
        calls.expect(call_id, Decision, 60, permission=PERMISSION)
    assert calls.answer("a", YES, ("inference.chat",)) == Delivery(Outcome.NOT_PERMITTED, PERMISSION)
    assert calls.answer("a", YES, ("tools.*",)) == TAKEN
    assert calls.answer("b", NO, ("inference.chat",)) == TAKEN


async def test_nobody_answers_in_time() -> None:
    calls = WaitingCalls()
    calls.expect("a", Decision, 0.01)
    assert await asyncio.wait_for(calls.wait("a"), 5) is None
    assert calls.answer("a", YES, ()) == NOT_WAITING


async def test_a_later_round_may_use_an_id_again() -> None:
    calls = WaitingCalls()
    calls.expect("a", ClientResult, 60)
    calls.answer("a", ClientResult("1"), ())
    calls.expect("a", ClientResult, 60)
    assert calls.answer("a", ClientResult("2"), ()) == TAKEN
    assert await calls.wait("a") == ClientResult("2")
