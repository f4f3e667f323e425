"""The phases of a turn, as its trace tells them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing, contextmanager, suppress
from itertools import pairwise

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from services.inference.engine import Prompt
from services.inference.errors import EngineFailed
from services.inference.seated_engine import SeatedEngine
from services.inference.seats import Door, Seats
from services.rpc.tracing import join_trace
from tests.inference.scripted import ScriptedEngine, says


@contextmanager
def traced() -> Iterator[InMemorySpanExporter]:
    """Trace what the test does, as a call is traced."""
    kept, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    call = join_trace(provider.get_tracer("test"), (), "call")
    yield kept
    call.end()


async def generate(engine: ScriptedEngine, steps: int | None = None) -> None:
    """Generate a turn; leave after so many steps, if told."""
    seated = SeatedEngine(engine, Door(Seats(1, max_waiting=1), {}))
    told = seated.generate(Prompt(10), max_output_tokens=20, request_id="run-0")
    async with aclosing(told) as reading:
        async for _ in reading:
            steps = None if steps is None else steps - 1
            if steps == 0:
                return


def by_name(kept: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in kept.get_finished_spans()}


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
