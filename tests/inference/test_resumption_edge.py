"""Cut streams are resumed through the real edge, which is stopped and started again in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from cli.local.preflight import free_port
from deploy.envoy.contract import load_contract
from deploy.envoy.render import write
from deploy.envoy.settings import EdgeSettings
from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from parley_client.channel import open_channel
from parley_client.client import Client
from services.inference.reading.step import ContentDelta
from tests.conftest import TokenMaker
from tests.edge.conftest import edge_settings, start_mesh
from tests.edge.front import CONFIGURATION, envoy
from tests.inference.replicas import Identity, InferenceProcess, Replica
from tests.inference.scripted import Gate, ScriptedEngine, says
from tests.inference.test_resumption import engine_of, rest, window
from tests.inference.test_servicer import PERMISSIONS, chat, reason

pytestmark = pytest.mark.slow

TEXTS = ["Once ", "upon ", "a ", "time."]


@dataclass
class Deployment:
    """Two replicas, and what an edge in front of them is told.

    Attributes:
        replicas: The replicas.
        settings: The edge's settings.
        folder: Where its files are.
        metadata: What a caller shows.
    """

    replicas: list[InferenceProcess]
    settings: EdgeSettings
    folder: Path
    metadata: Any

    def edge(self) -> Any:
        """The edge, until the block's end; each time the same."""
        return envoy(self.settings, self.folder, keys=True)

    def script(self) -> Gate:
        """Have the next run, wherever it runs, say the texts, and wait in the middle."""
        gate = Gate()
        for replica in self.replicas:
            engine_of(replica).script([*map(ContentDelta, TEXTS[:2]), gate, *says(*TEXTS[2:])])
        return gate

    @property
    def running(self) -> int:
        """Requests in the engines."""
        return sum(engine_of(replica).running for replica in self.replicas)


@pytest.fixture
async def deployment(
    replica: Replica, identity: Identity, tokens: TokenMaker, tmp_path: Path
) -> AsyncIterator[Deployment]:
    async with AsyncExitStack() as stack:
        mesh = await start_mesh(identity, tokens, stack)
        replicas = [await stack.enter_async_context(replica(ScriptedEngine())) for _ in range(2)]
        for process in replicas:
            await process.server.set_serving(True)
        told = {
            **mesh.upstreams(),
            "listen_address": f"127.0.0.1:{free_port()}",
            "models": {"scripted": [f"127.0.0.1:{process.port}" for process in replicas]},
        }
        settings = edge_settings(identity("edge"), tmp_path, **told)
        write(settings, load_contract(), tmp_path / CONFIGURATION)
        yield Deployment(replicas, settings, tmp_path, tokens.metadata(*PERMISSIONS, "models.*"))


async def test_a_stream_outlives_the_edge(deployment: Deployment) -> None:
    """And is read on at either replica, as gRPC, as lines of JSON and as server-sent events."""
    gate = deployment.script()
    async with deployment.edge() as edge, edge.channel() as channel:
        call = InferenceServiceStub(channel).Chat(chat(**window()), metadata=deployment.metadata)
        head = [(await call.read()).event for _ in range(3)]
        await gate.reached.wait()
        edge.process.terminate()
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
    assert deployment.running == 1
    run_id = head[0].started.run_id
    async with deployment.edge() as edge, edge.channel() as channel:
        stub = InferenceServiceStub(channel)
        assert deployment.running == 1
        waiting = [asyncio.create_task(rest(stub, run_id, 3, deployment.metadata)) for _ in range(4)]
        gate.open.set()
        tails = [await each for each in waiting]
        whole = await rest(stub, run_id, 0, deployment.metadata)
        assert [head + tail for tail in tails] == [whole] * 4
        assert [event.content_delta.text for event in whole[1:5]] == TEXTS
        assert reason(whole) == "STOP"

        async with edge.http() as http:
            path, headers = f"/api/v1/runs/{run_id}:resume", dict(deployment.metadata)
            lines = await http.get(path, params={"after_sequence": 3}, headers=headers)
            headers["accept"] = "text/event-stream"
            events = await http.get(path, params={"after_sequence": 3}, headers=headers)
            nobody = await http.get(path)
    numbers = [json.loads(line)["event"]["sequence"] for line in lines.text.splitlines()]
    assert numbers == ["4", "5", "6", "7"]
    assert events.headers["content-type"] == "text/event-stream"
    told = [json.loads(line.removeprefix("data: ")) for line in events.text.splitlines() if line]
    assert told == [json.loads(line) for line in lines.text.splitlines()]
    assert nobody.status_code == 401


async def test_a_program_does_not_notice_that_the_edge_was_restarted(
    deployment: Deployment, tokens: TokenMaker
) -> None:
    gate = deployment.script()
    channel = open_channel(
        deployment.settings.listen_address, authority=deployment.settings.tls_authority_path
    )
    async with (
        Client(channel, beside=lambda: deployment.metadata) as client,
        client.chat(chat(model="scripted", **window())) as events,
    ):
        async with deployment.edge() as edge:
            seen = [await anext(events) for _ in range(3)]
            await gate.reached.wait()
            edge.process.terminate()
            await edge.process.wait()
        async with deployment.edge():
            gate.open.set()
            seen += [event async for event in events]
            again = client.resume(seen[0].started.run_id)
            assert [event async for event in again] == seen
    assert [event.sequence for event in seen] == list(range(1, 8))
    assert reason(seen) == "STOP"
