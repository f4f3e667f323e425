"""The door: what it lets in, what it does when the store is away, and that every end is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from ulid import ULID

from parley.auth.v1 import usage_pb2
from services.ledger.admission import Admission, Spent
from services.ledger.lease import Lease, LeaseLife
from services.ledger.ledger import USAGE, Grant, Ledger, LedgerUnavailable, LimitReached, open_store
from services.ledger.limits import Dimension, Payer, Terms
from services.ledger.local_rates import LocalRates
from services.rpc.call import Call, enter_call
from services.rpc.quota_errors import BudgetExhausted, QuotaUnavailable, RateLimited
from tests.ledger.conftest import PAYER, limits

LIFE = LeaseLife(slice_tokens=8, seconds=30.0)
NOWHERE = "redis://127.0.0.1:1/0"


class Fixed:
    """Holds everyone to the same."""

    def __init__(self, terms: Terms) -> None:
        self.held_to = terms

    async def terms(self, payer: Payer) -> Terms:
        return self.held_to


class BrokenLedger(Ledger):
    """A ledger whose store can be taken away."""

    def __init__(self, store: Redis) -> None:
        super().__init__(store)
        self.away = False
        self.asked = 0

    async def _run(self, script: str, keys: Any, arguments: Any) -> Any:
        self.asked += 1
        if self.away:
            raise LedgerUnavailable("away")
        return await super()._run(script, keys, arguments)


@pytest.fixture
async def ledger(store: Redis) -> BrokenLedger:
    ledger = BrokenLedger(store)
    await ledger.mark_ready()
    return ledger


def door(ledger: Ledger, terms: Terms, life: LeaseLife = LIFE) -> Admission:
    return Admission(ledger, Fixed(terms), service="test.parley", life=life)


async def admit(admission: Admission, prompt: int = 10) -> Lease:
    return await admission.admit(str(ULID()), PAYER, prompt=prompt)


async def used(ledger: Ledger, terms: Terms) -> dict[Dimension, int]:
    return {each.dimension: each.limit - each.left for each in await ledger.standings(terms)}


async def until(fulfilled: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not await fulfilled():
            pass


async def records(store: Redis) -> list[usage_pb2.UsageRecord]:
    return [usage_pb2.UsageRecord.FromString(entry[b"record"]) for _, entry in await store.xrange(USAGE)]


async def test_a_lease_is_extended_ahead_of_need_and_never_more_than_a_slice(ledger: BrokenLedger) -> None:
    terms = limits(tokens_per_day=1000)
    lease = await admit(door(ledger, terms))
    waited = 0
    for spent in range(1, 200):
        assert lease.ceiling is not None
        assert 0 <= lease.ceiling - (spent - 1) <= LIFE.slice_tokens
        if not lease.covers(spent):
            waited += 1
            assert await lease.wait_for_more(spent)
        await asyncio.sleep(0.001 if spent % 4 == 0 else 0)
    assert waited < 50


async def test_without_budgets_nobody_waits_and_rates_are_charged_all_the_same(ledger: BrokenLedger) -> None:
    terms = limits(tokens_per_minute=10_000, concurrent_streams=1)
    admission = door(ledger, terms)
    lease = await admit(admission)
    assert lease.ceiling is None
    for spent in range(1, 100):
        assert lease.covers(spent)
    await admission.settle(lease, Spent(prompt_tokens=10, completion_tokens=99))
    # Less what drained meanwhile.
    assert 60 < (await used(ledger, terms))[Dimension.TOKENS_PER_MINUTE] <= 109
    assert (await used(ledger, terms))[Dimension.CONCURRENT_STREAMS] == 0


@pytest.mark.parametrize(
    ("terms", "refusal"),
    [(limits(requests_per_minute=0), RateLimited), (limits(tokens_per_day=10), BudgetExhausted)],
)
async def test_a_refusal_says_which_kind_of_limit_it_is(
    ledger: BrokenLedger, terms: Terms, refusal: type[Exception]
) -> None:
    dimension = "requests_per_minute" if refusal is RateLimited else "tokens_per_day"
    labels = {"dimension": dimension, "tenant_class": "gold"}
    before = REGISTRY.get_sample_value("parley_quota_refused_total", labels) or 0
    enter_call(Call("request-1", "/toy", tenant_class="gold"))
    with pytest.raises(refusal) as caught:
        await admit(door(ledger, terms))
    assert caught.value.refused.api_service == "test.parley"  # type: ignore[attr-defined]
    assert REGISTRY.get_sample_value("parley_quota_refused_total", labels) == before + 1


async def test_the_store_away_fails_budgets_closed_and_rates_go_by_this_process(
    ledger: BrokenLedger,
) -> None:
    ledger.away = True
    with pytest.raises(QuotaUnavailable):
        await admit(door(ledger, limits(tokens_per_day=10, requests_per_minute=5)))
    by_rate = door(ledger, limits(requests_per_minute=2, concurrent_streams=1))
    for _ in range(2):
        assert not (await admit(by_rate)).is_held
    with pytest.raises(RateLimited):
        await admit(by_rate)


async def test_a_budget_ends_at_its_grant_when_the_store_goes_away(ledger: BrokenLedger) -> None:
    lease = await admit(door(ledger, limits(tokens_per_day=1000)))
    ledger.away = True
    assert lease.covers(7)
    with pytest.raises(QuotaUnavailable):
        await lease.wait_for_more(8)
    with pytest.raises(QuotaUnavailable):
        await lease.begin_turn(30, 8)


async def test_a_rate_goes_on_when_the_store_goes_away(ledger: BrokenLedger) -> None:
    lease = await admit(door(ledger, limits(tokens_per_minute=1000)))
    ledger.away = True
    assert all(lease.covers(spent) for spent in range(1, 40))
    assert await lease.begin_turn(30, 8)


async def test_what_cannot_be_settled_is_settled_when_the_store_is_back(
    ledger: BrokenLedger, store: Redis
) -> None:
    terms = limits(tokens_per_day=1000)
    admission = door(ledger, terms, LeaseLife(8, seconds=0.3))
    async with admission.keeping():
        lease, free = await admit(admission), await admit(door(ledger, Terms()))
        ledger.away = True
        for each in (lease, free):
            await admission.settle(each, Spent(prompt_tokens=10, completion_tokens=3))
        assert await records(store) == []
        ledger.away = False

        async def written() -> bool:
            return len(await records(store)) == 2

        await until(written)
    assert await used(ledger, terms) == {Dimension.TOKENS_PER_DAY: 13}


async def test_leases_are_kept_alive_and_health_is_told(ledger: BrokenLedger) -> None:
    terms = limits(concurrent_streams=1, tokens_per_day=100)
    told: list[bool] = []

    async def report(answers: bool) -> None:
        told.append(answers)

    admission = door(ledger, terms, LeaseLife(8, seconds=0.3))
    async with admission.keeping(report):
        lease = await admit(admission)

        async def renewed() -> bool:
            return len(told) > 5

        await until_told(renewed)
        assert lease.covers(1)
        assert (await used(ledger, terms))[Dimension.CONCURRENT_STREAMS] == 1
        await admission.settle(lease, Spent())
    assert set(told) == {True}


async def until_told(fulfilled: Callable[[], Any]) -> None:
    """Waits for what happens by the clock."""
    async with asyncio.timeout(10):
        while not await fulfilled():  # noqa: ASYNC110 - the keeper's own time
            await asyncio.sleep(0.01)


async def test_a_request_that_is_cancelled_while_it_asks_is_not_charged(ledger: BrokenLedger) -> None:
    terms = limits(tokens_per_day=1000, concurrent_streams=5)
    admission = door(ledger, terms)
    async with admission.keeping():
        asking = [asyncio.create_task(admit(admission)) for _ in range(20)]
        while not ledger.asked:  # noqa: ASYNC110 - until the first is on its way
            await asyncio.sleep(0)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    assert await used(ledger, terms) == {Dimension.TOKENS_PER_DAY: 0, Dimension.CONCURRENT_STREAMS: 0}


async def test_a_lease_that_is_gone_stops_a_budget_at_its_grant(ledger: BrokenLedger) -> None:
    terms = limits(tokens_per_day=1000)
    lease = Lease("never-reserved", PAYER, terms, Grant(10, 8), ledger, LIFE)
    await lease.renew()
    with pytest.raises(QuotaUnavailable):
        await lease.wait_for_more(8)


def test_local_rates_drain_with_time_and_count_nothing_they_refuse() -> None:
    now = [0.0]
    rates, terms = LocalRates(lambda: now[0]), limits(requests_per_minute=2, tokens_per_minute=100)
    rates.admit(terms, 60)
    with pytest.raises(LimitReached) as caught:
        rates.admit(terms, 60)
    assert caught.value.standing.dimension is Dimension.TOKENS_PER_MINUTE
    assert caught.value.standing.reset == timedelta(seconds=12)
    rates.admit(terms, 40)
    now[0] += 30
    rates.admit(terms, 10)
    with pytest.raises(LimitReached) as caught:
        rates.admit(limits("user/other", tokens_per_minute=5), 6)
    assert caught.value.standing.reset is None


async def test_a_store_without_an_answer_is_given_up_in_time() -> None:
    async with open_store(NOWHERE) as store:
        with pytest.raises(QuotaUnavailable):
            await admit(door(Ledger(store), limits(tokens_per_day=10)))


async def test_a_store_that_is_lost_leaves_what_was_not_written_counted_as_lost(
    ledger: BrokenLedger,
) -> None:
    admission = door(ledger, limits(tokens_per_day=100))
    async with admission.keeping():
        lease = await admit(admission)
        ledger.away = True
        await admission.settle(lease, Spent())
    assert lease.ceiling is None
