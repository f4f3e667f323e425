"""The phases of a turn, as its trace tells them."""

from __future__ import annotations

from contextlib import aclosing, suppress
from itertools import pairwise

import pytest
from opentelemetry.trace import StatusCode

from services.inference.engine.port import Prompt
from services.inference.engine.turn_spans import embeddings_span
from services.inference.errors import EngineFailed
from services.inference.seating.seated_engine import SeatedEngine
from services.inference.seating.seats import Door, Seats
from tests.inference.scripted import ScriptedEngine, says
from tests.rpc.spans import by_name, traced


async def generate(engine: ScriptedEngine, steps: int | None = None) -> None:
    """Generate a turn; leave after so many steps, if told."""
    seated = SeatedEngine(engine, Door(Seats(1, max_waiting=1), {}))
    told = seated.generate(Prompt(10), max_output_tokens=20, request_id="run-0")
    async with aclosing(told) as reading:
        async for _ in reading:
            steps = None if steps is None else steps - 1
            if steps == 0:
                return


async def test_a_turn_waits_reads_and_writes_in_that_order() -> None:
    with traced() as kept:
        await generate(ScriptedEngine(says("Hel", "lo.")))
    spans = by_name(kept)
    turn = spans["chat scripted"]
    phases = [spans[name] for name in ("queue", "prefill", "decode")]
    assert all(phase.parent and phase.parent.span_id == turn.context.span_id for phase in phases)
    assert all(phase.end_time <= later.start_time for phase, later in pairwise(phases))
    assert turn.parent is not None
    assert turn.parent.span_id == spans["call"].context.span_id
    assert dict(turn.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "parley",
        "gen_ai.request.model": "scripted",
        "gen_ai.request.max_tokens": 20,
        "gen_ai.response.id": "run-0",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.response.finish_reasons": ("stop",),
    }


@pytest.mark.parametrize(
    ("script", "steps", "reason"),
    [
        ([*says("Hel")[:1], EngineFailed("scripted")], None, "ENGINE_FAILED"),
        (says("Hel", "lo."), 1, "cancelled"),
    ],
    ids=["the engine fails", "the reader leaves"],
)
async def test_a_turn_that_breaks_off_says_why_and_in_which_phase(
    script: list[object], steps: int | None, reason: str
) -> None:
    with traced() as kept, suppress(EngineFailed):
        await generate(ScriptedEngine(script), steps)  # type: ignore[arg-type]
    spans = by_name(kept)
    for name in ("chat scripted", "decode"):
        assert (spans[name].attributes or {})["error.type"] == reason
        assert spans[name].status.status_code is StatusCode.ERROR
    assert spans["prefill"].status.status_code is StatusCode.UNSET


async def test_without_a_trace_nothing_is_recorded() -> None:
    await generate(ScriptedEngine(says("Hello.")))
    with embeddings_span("scripted", 3, "request-1") as span:
        assert not span.is_recording()


async def test_texts_that_are_embedded_have_a_span_with_their_tokens() -> None:
    with traced() as kept, embeddings_span("scripted", 3, "request-1"):
        pass
    assert dict(by_name(kept)["embeddings scripted"].attributes or {}) == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "parley",
        "gen_ai.request.model": "scripted",
        "gen_ai.response.id": "request-1",
        "gen_ai.usage.input_tokens": 3,
    }
