"""Whoever leaves frees the engine, on every surface of the edge, and the histogram says how soon."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from parley.inference.v1 import chat_pb2, inference_service_pb2
from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from services.inference.metrics import RELEASE_SECONDS
from services.inference.reading.step import ContentDelta
from tests.edge.openai.conftest import MARKS, MODEL, SECONDS, Surface
from tests.edge.toys import chat_request, everything
from tests.inference.scripted import Gate

pytestmark = MARKS

MESSAGE = {"role": "ROLE_USER", "content": [{"text": "Tell me."}]}
OPENAI_BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Tell me."}]}

Leave = Callable[[Surface, Gate], Awaitable[None]]


def shown(surface: Surface) -> Any:
    """What a caller shows who may do everything."""
    return surface.tokens.metadata("*")


async def grpc_leaves(surface: Surface, gate: Gate) -> None:
    async with surface.edge.channel() as channel:
        call = InferenceServiceStub(channel).Chat(chat_request("Tell me."), metadata=shown(surface))
        await call.read()
        await gate.reached.wait()
        call.cancel()


async def grpc_deadline(surface: Surface, gate: Gate) -> None:
    async with surface.edge.channel() as channel:
        call = InferenceServiceStub(channel).Chat(
            chat_request("Tell me."), metadata=shown(surface), timeout=2.0
        )
        last = (await everything(call))[-1].event
    assert last.finished.reason == chat_pb2.FINISH_REASON_DEADLINE
    assert gate.reached.is_set()


async def grpc_cancel(surface: Surface, gate: Gate) -> None:
    async with surface.edge.channel() as channel:
        stub = InferenceServiceStub(channel)
        call = stub.Chat(chat_request("Tell me."), metadata=shown(surface))
        async for answer in call:
            if answer.event.HasField("started"):
                await gate.reached.wait()
                request = inference_service_pb2.CancelRequest(run_id=answer.event.started.run_id)
                await stub.Cancel(request, metadata=shown(surface))


async def grpc_web_leaves(surface: Surface, gate: Gate) -> None:
    message = chat_request("Tell me.").SerializeToString()
    body = b"\0" + len(message).to_bytes(4, "big") + message
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    path = "/parley.inference.v1.InferenceService/Chat"
    await _http_leaves(surface, gate, path, headers, content=body)


async def json_leaves(surface: Surface, gate: Gate) -> None:
    await _http_leaves(surface, gate, "/api/v1/chat", {}, json={"messages": [MESSAGE]})


async def sse_leaves(surface: Surface, gate: Gate) -> None:
    body = {**OPENAI_BODY, "stream": True}
    await _http_leaves(surface, gate, "/v1/chat/completions", {}, json=body)


async def whole_answer_leaves(surface: Surface, gate: Gate) -> None:
    """Nothing is sent before the end, so the edge alone can tell that nobody waits."""
    headers = dict(shown(surface))
    async with surface.edge.http() as client:
        call = client.post("/v1/chat/completions", json=OPENAI_BODY, headers=headers, timeout=SECONDS)
        asking = asyncio.create_task(call)
        await gate.reached.wait()
        asking.cancel()
        await asyncio.wait({asking})


async def _http_leaves(
    surface: Surface, gate: Gate, path: str, headers: Mapping[str, str], **body: Any
) -> None:
    async with (
        surface.edge.http() as client,
        client.stream(
            "POST", path, headers={**dict(shown(surface)), **headers}, timeout=SECONDS, **body
        ) as answer,
    ):
        assert answer.status_code == 200
        await gate.reached.wait()


@pytest.mark.parametrize(
    ("leave", "reason"),
    [
        (grpc_leaves, "CANCELLED"),
        (grpc_cancel, "CANCELLED"),
        (grpc_deadline, "DEADLINE"),
        (grpc_web_leaves, "CANCELLED"),
        (json_leaves, "CANCELLED"),
        (sse_leaves, "CANCELLED"),
        (whole_answer_leaves, "CANCELLED"),
    ],
)
async def test_the_engine_is_free_and_the_histogram_says_how_soon(
    surface: Surface, leave: Leave, reason: str
) -> None:
    before, gate = released(reason), Gate()
    surface.script([ContentDelta("Once "), ContentDelta("upon "), gate])
    async with asyncio.timeout(SECONDS):
        await leave(surface, gate)
        assert await surface.runs.wait_until_empty(SECONDS)
    assert surface.engine.running == 0
    assert released(reason) == before + 1


def released(reason: str) -> float:
    """How many runs that ended so the histogram knows."""
    (family,) = RELEASE_SECONDS.labels(reason).collect()
    return next(sample.value for sample in family.samples if sample.name.endswith("_count"))
