"""Samples through a real store, and rollouts that are rolled back by themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from parley.auth.v1 import audit_pb2
from parley.inference.v1 import rollout_pb2
from parley.inference.v1 import rollout_service_pb2 as pb2
from services.inference.errors import EngineFailed
from services.inference.models import Models
from services.inference.rollouts.aliases import Aliases
from services.inference.rollouts.book import SampleBook
from services.inference.rollouts.counts import Counts
from services.inference.rollouts.library import RolloutLibrary
from services.inference.rollouts.room import Rollouts
from services.inference.rollouts.samples import Sample
from services.inference.rollouts.shadows import Shadows
from services.inference.rollouts.watch import METHOD, GuardrailWatch
from services.ledger.ledger import open_store
from services.rpc.errors import DependencyUnavailable
from tests.conftest import TokenMaker
from tests.inference.replicas import Replica
from tests.inference.rollouts.conftest import ALIAS, PERMISSIONS, creation, halves, variant
from tests.inference.scripted import ScriptedEngine, says
from tests.inference.test_servicer import chat, read, refusal

SECONDS = 20
ROLLBACK_SECONDS = 10
FAILURES = rollout_pb2.RolloutGuardrails(max_error_rate=0.5, min_samples=5)
FAILED = Sample(failed=True)


class Ears:
    """A sink of the audit that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[audit_pb2.AuditEvent] = []

    def admit(self) -> None:
        """All may begin."""

    def record(self, event: audit_pb2.AuditEvent) -> None:
        self.events.append(event)

    def of_nobody(self) -> list[audit_pb2.AuditEvent]:
        """Rollbacks that nobody asked for."""
        return [event for event in self.events if event.method == METHOD and not event.user_id]


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await true():  # noqa: ASYNC110 - it is told by the database and the store
            await asyncio.sleep(0.05)


def everybody(*more: rollout_pb2.RolloutVariant, **fields: Any) -> pb2.CreateRolloutRequest:
    """All are given the candidate."""
    return creation(variant("plain", 0), *(more or (variant("candidate", 100),)), **fields)


async def test_a_breach_rolls_back_within_10_seconds_and_is_audited_once(
    replica: Replica, library: RolloutLibrary, operator: Any
) -> None:
    ears = Ears()
    failing = [[EngineFailed("scripted")] for _ in range(5)]
    engine = ScriptedEngine(*failing)
    async with (
        replica(engine, rollouts=library, audit=ears) as one,
        replica(ScriptedEngine(), rollouts=library, audit=ears) as other,
    ):
        await one.rollouts.CreateRollout(everybody(guardrails=FAILURES), metadata=operator)
        for _ in range(5):
            await read(one.stub.Chat(chat(model=ALIAS), metadata=operator))
        breached = time.monotonic()

        async def is_back() -> bool:
            found = await other.rollouts.GetRollout(pb2.GetRolloutRequest(name=ALIAS), metadata=operator)
            return bool(found.rollout.state == rollout_pb2.ROLLOUT_STATE_ROLLED_BACK)

        await until(is_back)
        took = time.monotonic() - breached
        for process in (one, other):

            async def is_plain(process: Any = process) -> bool:
                try:
                    events = await read(process.stub.Chat(chat(model=ALIAS), metadata=operator))
                except grpc.aio.AioRpcError:
                    return False  # it has not heard of the alias yet
                return bool(events[0].started.variant == "plain")

            await until(is_plain)
        shown = await one.rollouts.GetRollout(pb2.GetRolloutRequest(name=ALIAS), metadata=operator)
    assert took < ROLLBACK_SECONDS
    breach = shown.rollout.breach
    assert (breach.guardrail, breach.variant_name, breach.value, breach.samples) == (
        rollout_pb2.GUARDRAIL_ERROR_RATE,
        "candidate",
        1.0,
        5,
    )
    (event,) = ears.of_nobody()
    assert event.tenant_id
    assert event.resources["guardrail"] == "error_rate"
    assert event.resources["variant_name"] == "candidate"
    assert event.resources["name"] == ALIAS


class Bench:
    """A watch on one rollout, looked through by hand."""

    def __init__(self, library: RolloutLibrary, store: Redis) -> None:
        self.ears = Ears()
        self.library = library
        self.counts = Counts(store)
        self.book = SampleBook()
        self.aliases = Aliases(Models("scripted"), lambda _: True)
        self.watch = GuardrailWatch(library, self.aliases, self.counts, self.ears)
        self.rollout = rollout_pb2.Rollout()

    async def begin(self, **fields: Any) -> None:
        given = {"variants": halves(), "guardrails": FAILURES, **fields}
        asked = rollout_pb2.Rollout(name=ALIAS, stable_variant_name="plain", **given)
        self.rollout = await self.library.create("tenant-1", asked)
        await self.aliases.refresh(self.library)

    async def look(self) -> rollout_pb2.RolloutState.ValueType:
        await self.book.flush(self.counts)
        await self.watch.look()
        return (await self.library.get("tenant-1", ALIAS)).state

    def take(self, name: str, count: int, sample: Sample = FAILED) -> None:
        for _ in range(count):
            self.book.take(self.rollout.rollout_id, name, sample)


@pytest.fixture
def bench(library: RolloutLibrary, store: Redis) -> Bench:
    return Bench(library, store)


async def test_few_samples_prove_nothing(bench: Bench) -> None:
    await bench.begin()
    bench.take("candidate", 4)
    assert await bench.look() == rollout_pb2.ROLLOUT_STATE_RUNNING
    bench.take("candidate", 1)
    assert await bench.look() == rollout_pb2.ROLLOUT_STATE_ROLLED_BACK


async def test_the_stable_variant_is_not_judged(bench: Bench) -> None:
    await bench.begin()
    bench.take("plain", 50)
    assert await bench.look() == rollout_pb2.ROLLOUT_STATE_RUNNING


async def test_the_samples_of_a_rollout_before_do_not_count(bench: Bench) -> None:
    await bench.begin()
    bench.take("candidate", 5)
    assert await bench.look() == rollout_pb2.ROLLOUT_STATE_ROLLED_BACK
    await bench.begin()
    assert await bench.look() == rollout_pb2.ROLLOUT_STATE_RUNNING
    assert len(bench.ears.events) == 1


async def test_of_two_that_find_a_breach_one_rolls_back(bench: Bench, library: RolloutLibrary) -> None:
    await bench.begin()
    bench.take("candidate", 5)
    await bench.book.flush(bench.counts)
    other = Aliases(Models("scripted"), lambda _: True)
    await other.refresh(library)
    watches = [bench.watch, GuardrailWatch(library, other, bench.counts, bench.ears)]
    await asyncio.gather(*(watch.look() for watch in watches))
    assert len(bench.ears.events) == 1


async def test_without_limits_nothing_is_judged(bench: Bench) -> None:
    await bench.begin(guardrails=rollout_pb2.RolloutGuardrails())
    bench.take("candidate", 500)
    assert await bench.look() == rollout_pb2.ROLLOUT_STATE_RUNNING


async def test_while_the_store_is_away_samples_wait(bench: Bench) -> None:
    await bench.begin()
    bench.take("candidate", 3)
    async with open_store("redis://127.0.0.1:1/0") as nowhere:
        with pytest.raises(DependencyUnavailable):
            await bench.book.flush(Counts(nowhere))
    bench.take("candidate", 2)
    assert await bench.look() == rollout_pb2.ROLLOUT_STATE_ROLLED_BACK


async def test_a_variant_whose_model_is_gone_is_passed_over_and_judged_by_it(
    bench: Bench, tokens: TokenMaker
) -> None:
    await bench.begin(variants=halves(model="gone"))
    models = Models("scripted")
    aliases = Aliases(models, lambda model: model != "gone")
    await aliases.refresh(bench.library)
    users = [tokens.principal("models.*", user_id=f"user-{number}") for number in range(40)]
    rollouts = Rollouts(aliases, bench.book, Shadows(models, bench.book))
    trials = [rollouts.trial(ALIAS, user) for user in users]
    assert {trial.model for trial in trials if trial} == {"scripted"}
    assert await bench.look() == rollout_pb2.ROLLOUT_STATE_ROLLED_BACK


async def test_feedback_is_given_by_whoever_asked_and_its_last_word_counts(
    replica: Replica, library: RolloutLibrary, operator: Any, tokens: TokenMaker, store: Redis
) -> None:
    def thumbs(kind: str) -> float:
        return REGISTRY.get_sample_value("parley_inference_feedback_total", {"kind": kind}) or 0.0

    up, down = thumbs("up"), thumbs("down")
    async with replica(ScriptedEngine(), rollouts=library) as process:
        begun = await process.rollouts.CreateRollout(everybody(), metadata=operator)
        events = await read(process.stub.Chat(chat(model=ALIAS), metadata=operator))
        run_id = events[0].started.run_id

        async def give(verdict: pb2.FeedbackVerdict.ValueType, metadata: Any = operator) -> str:
            request = pb2.GiveFeedbackRequest(run_id=run_id, verdict=verdict)
            try:
                await process.rollouts.GiveFeedback(request, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                return refusal(error)[0]
            return ""

        async def is_known() -> bool:
            return not await give(pb2.FEEDBACK_VERDICT_UP)

        await until(is_known)
        assert not await give(pb2.FEEDBACK_VERDICT_DOWN)
        assert not await give(pb2.FEEDBACK_VERDICT_DOWN)
        stranger = tokens.metadata(*PERMISSIONS, user_id="user-2")
        assert await give(pb2.FEEDBACK_VERDICT_UP, stranger) == "RUN_NOT_FOUND"
        tally = (await Counts(store).total(begun.rollout.rollout_id))["candidate"]
    assert (tally.count("up"), tally.count("down")) == (0, 1)
    assert (thumbs("up") - up, thumbs("down") - down) == (1, 1)


async def test_a_run_of_no_alias_takes_no_feedback(
    replica: Replica, library: RolloutLibrary, operator: Any
) -> None:
    async with replica(ScriptedEngine(says("Hi.")), rollouts=library) as process:
        events = await read(process.stub.Chat(chat(), metadata=operator))
        run_id = events[0].started.run_id
        request = pb2.GiveFeedbackRequest(run_id=run_id, verdict=pb2.FEEDBACK_VERDICT_UP)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await process.rollouts.GiveFeedback(request, metadata=operator)
    assert refusal(refused.value)[0] == "RUN_NOT_FOUND"
