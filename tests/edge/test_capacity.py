"""More streams than Envoy's defaults let through."""

from __future__ import annotations

import asyncio

import pytest

from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from tests.conftest import TokenMaker
from tests.edge.conftest import Mesh
from tests.edge.front import Front
from tests.edge.toys import chat_request

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

# Envoy's circuit breakers cut in at 1,024 calls unless they are told otherwise.
STREAMS = 1_100
# Opened so many at a time that the toy services, in this very process, still answer health checks.
WAVE = 50


async def test_more_streams_than_the_default_limit_stay_open(
    edge: Front, mesh: Mesh, tokens: TokenMaker
) -> None:
    before = mesh.seen["demo"].calls
    metadata = tokens.metadata("*")
    async with edge.channel() as channel:
        stub = InferenceServiceStub(channel)
        calls, first = [], []
        for _ in range(STREAMS // WAVE):
            wave = [stub.Chat(chat_request("wait"), metadata=metadata, timeout=240) for _ in range(WAVE)]
            first += await asyncio.gather(*(call.read() for call in wave))
            calls += wave
        assert mesh.seen["demo"].calls - before == STREAMS
        assert not any(call.done() for call in calls)
        for call in calls:
            call.cancel()
    assert {answer.event.started.model for answer in first} == {"demo"}
