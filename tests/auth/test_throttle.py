"""The backoff of logins, on both databases."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from services.auth.errors import LoginThrottled
from services.auth.throttle import FORGET_AFTER, Backoff, LoginThrottle
from services.sql.database import Database
from tests.auth.conftest import FakeClock

PER_NAME = Backoff(free=2, longest=timedelta(seconds=60))
PER_ADDRESS = Backoff(free=4, longest=timedelta(seconds=900))


@pytest.fixture
def throttle(database: Database, clock: FakeClock) -> LoginThrottle:
    return LoginThrottle(database, clock, per_name=PER_NAME, per_address=PER_ADDRESS)


async def wait_of(throttle: LoginThrottle, name: str, address: str) -> float:
    """How long the next attempt must wait, in seconds; it is counted if it need not."""
    try:
        await throttle.charge(name, address)
    except LoginThrottled as error:
        return error.retry_after.total_seconds() if error.retry_after else -1.0
    return 0.0


def test_the_wait_doubles_up_to_its_bound() -> None:
    waits = [PER_NAME.wait(failures).total_seconds() for failures in (0, 2, 3, 4, 5, 8, 9, 10**9)]
    assert waits == [0, 0, 1, 2, 4, 32, 60, 60]


async def test_a_name_must_wait_longer_with_each_failure(throttle: LoginThrottle, clock: FakeClock) -> None:
    waits = []
    for attempt in range(7):
        waits.append(await wait_of(throttle, "ada", f"192.0.2.{attempt}"))
        if waits[-1]:
            clock.advance(seconds=waits[-1])
            assert await wait_of(throttle, "ada", f"192.0.2.{attempt}") == 0
    assert waits == [0, 0, 0, 1, 2, 4, 8]


async def test_an_address_is_counted_over_all_names(throttle: LoginThrottle) -> None:
    for attempt in range(5):
        assert await wait_of(throttle, f"user-{attempt}", "192.0.2.1") == 0
    assert await wait_of(throttle, "another", "192.0.2.1") == 1
    assert await wait_of(throttle, "another", "192.0.2.2") == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("ipv4:127.0.0.1:1", "ipv4:127.0.0.1:1", True),
    ],
)
async def test_addresses_of_one_site_are_one(
    throttle: LoginThrottle, one: str, other: str, same: bool
) -> None:
    for attempt in range(5):
        await throttle.charge(f"user-{attempt}", one)
    assert (await wait_of(throttle, "another", other) > 0) is same


async def test_spellings_of_a_name_are_counted_together(throttle: LoginThrottle) -> None:
    for name in ("Ada", "ADA", "\N{FULLWIDTH LATIN SMALL LETTER A}da"):
        await throttle.charge(name, "192.0.2.1")
    assert await wait_of(throttle, "ada", "192.0.2.2") == 1


async def test_attempts_made_at_once_cannot_all_slip_through(throttle: LoginThrottle) -> None:
    waits = await asyncio.gather(*(wait_of(throttle, "ada", f"192.0.2.{number}") for number in range(12)))
    assert sorted(waits)[:4] == [0, 0, 0, 1]
    assert waits.count(0) == 3


async def test_a_clock_that_is_behind_does_not_block(throttle: LoginThrottle, clock: FakeClock) -> None:
    """Attempts made at once read their clocks before they queue for the database."""
    await throttle.charge("ada", "192.0.2.1")
    await throttle.refund("ada", "192.0.2.1")
    clock.advance(seconds=-0.5)
    assert await wait_of(throttle, "ada", "192.0.2.1") == 0


async def test_being_refused_does_not_lengthen_the_wait(throttle: LoginThrottle, clock: FakeClock) -> None:
    for _ in range(3):
        await throttle.charge("ada", "192.0.2.1")
    for _ in range(5):
        assert await wait_of(throttle, "ada", "192.0.2.1") == 1
    clock.advance(seconds=1)
    assert await wait_of(throttle, "ada", "192.0.2.1") == 0


async def test_a_right_password_clears_the_name_but_not_the_address(throttle: LoginThrottle) -> None:
    for attempt in range(4):
        await throttle.charge(f"victim-{attempt}", "192.0.2.1")
    await throttle.charge("mallory", "192.0.2.1")
    await throttle.refund("mallory", "192.0.2.1")
    assert await wait_of(throttle, "mallory", "192.0.2.1") == 0
    assert await wait_of(throttle, "victim-9", "192.0.2.1") == 1


async def test_failures_are_forgotten_in_time(throttle: LoginThrottle, clock: FakeClock) -> None:
    for _ in range(3):
        await throttle.charge("ada", "192.0.2.1")
    clock.advance(seconds=FORGET_AFTER.total_seconds())
    await throttle.charge("ada", "192.0.2.1")
    assert await wait_of(throttle, "ada", "192.0.2.1") == 0
