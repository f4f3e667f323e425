"""Passwords."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.auth.passwords import PasswordCost, Passwords
from services.rpc.errors import Overloaded

CHEAP = PasswordCost(time_cost=1, memory_kib=16, lanes=1)


async def test_only_the_right_password_is_right(passwords: Passwords) -> None:
    stored = await passwords.hash("sesame")
    assert stored.startswith("$argon2id$")
    assert await passwords.verify(stored, "sesame")
    assert not await passwords.verify(stored, "Sesame")


async def test_without_a_user_no_password_is_right(passwords: Passwords) -> None:
    assert not await passwords.verify(None, "sesame")


async def test_a_broken_hash_matches_nothing(passwords: Passwords) -> None:
    assert not await passwords.verify("$argon2id$nonsense", "sesame")


async def test_composed_and_decomposed_letters_are_the_same_password(passwords: Passwords) -> None:
    stored = await passwords.hash("caf\N{LATIN SMALL LETTER E WITH ACUTE}")
    assert await passwords.verify(stored, "cafe\N{COMBINING ACUTE ACCENT}")


async def test_a_hash_of_another_cost_is_outdated(passwords: Passwords) -> None:
    dearer = Passwords(PasswordCost(time_cost=2, memory_kib=16, lanes=1))
    stored = await dearer.hash("sesame")
    dearer.close()
    assert passwords.outdated(stored)
    assert await passwords.verify(stored, "sesame")
    assert not passwords.outdated(await passwords.hash("sesame"))


async def test_the_loop_goes_on_while_a_password_is_hashed() -> None:
    passwords = Passwords(PasswordCost())
    hashing = asyncio.create_task(passwords.hash("sesame"))
    turns = 0
    async with asyncio.timeout(30):
        while not hashing.done():
            await asyncio.sleep(0)
            turns += 1
    passwords.close()
    # One turn would be all if the loop waited for the hash.
    assert turns > 100


async def test_too_many_at_once_are_refused_and_places_come_free_again() -> None:
    passwords = Passwords(PasswordCost(time_cost=1, memory_kib=16, lanes=1, workers=1, waiting=1))
    answers = await asyncio.gather(*(passwords.hash("x") for _ in range(5)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Overloaded)]
    assert len(refused) == 3
    assert refused[0].retry_after is not None
    assert (await passwords.hash("x")).startswith("$argon2id$")
    passwords.close()


async def test_a_caller_who_leaves_holds_the_place_until_the_work_is_done() -> None:
    passwords = Passwords(PasswordCost(time_cost=3, memory_kib=65_536, lanes=1, workers=1, waiting=0))
    leaving = asyncio.create_task(passwords.hash("x"))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    with pytest.raises(Overloaded):
        await passwords.hash("x")
    passwords.close()


async def test_the_default_cost_takes_its_time() -> None:
    passwords = Passwords(PasswordCost())
    stored = await passwords.hash("x")
    begin = time.perf_counter()
    assert await passwords.verify(stored, "x")
    # The upper bound is the figure's, 250 ms, times what a busy machine may add.
    assert 0.03 < time.perf_counter() - begin < 5
    passwords.close()
