"""Replicas, as processes, join and leave behind the real edge while calls and streams run: none is lost."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from cli.failures import CommandError
from cli.home import Home
from cli.local.child import ChildSpec
from cli.local.edge import EdgePools
from cli.local.groups import guarded_groups
from cli.local.membership import Membership
from cli.local.model import ModelChoice
from cli.local.pools import Pool, Pools, Replica
from cli.local.preflight import free_port
from cli.local.probes import service_answers
from cli.local.resources import CoreShare
from cli.local.stack import INFERENCE
from cli.local.supervisor import Change, Phase, Supervisor
from deploy.envoy.admin import Admin
from deploy.envoy.endpoints import EndpointFiles
from parley.inference.v1 import converse_pb2
from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from tests.conftest import TokenMaker
from tests.edge.conftest import Identity, Mesh, edge_settings
from tests.edge.front import CONFIGURATION, Front, eventually, front
from tests.edge.toys import chat_request

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

MODEL = "demo"
LIMIT_SECONDS = 300.0
PACE_SECONDS = 0.02
ROOT = Path(__file__).parents[2]


class Phases:
    """Notes the phase of each process, and lets a test wait for one."""

    def __init__(self) -> None:
        self.last: dict[str, Phase] = {}
        self._news = asyncio.Event()

    def __call__(self, change: Change) -> None:
        self.last[change.name] = change.phase
        self._news.set()

    async def until(self, name: str, phase: Phase) -> None:
        while self.last.get(name) is not phase:
            self._news.clear()
            await self._news.wait()


@dataclass
class Local:
    """A stack of nothing but replicas, behind an edge whose other services are toys.

    Attributes:
        pools: The replicas that there are.
        supervisor: Runs them.
        phases: Each phase that a process entered, by its name.
    """

    home: Home
    identity: Identity
    keys: Path
    pools: Pools
    supervisor: Supervisor
    phases: Phases

    def process(self, replica: Replica) -> ChildSpec:
        files = self.identity("inference")
        told = (
            replica.name,
            replica.address,
            self.keys,
            files.certificate,
            files.private_key,
            files.authority,
        )
        operator = self.identity("operator")
        return ChildSpec(
            name=replica.name,
            command=(sys.executable, "-m", "tests.edge.toy_replica", *map(str, told)),
            environment={"PATH": ""},
            is_ready=service_answers(replica.address, operator, "inference", INFERENCE, "parley.local"),
            log=self.home.folder("logs") / f"{replica.name}.log",
            folder=ROOT,
            address=replica.address,
        )


@pytest_asyncio.fixture(loop_scope="session")
async def local(identity: Identity, tokens: TokenMaker, tmp_path: Path) -> AsyncIterator[Local]:
    home, keys = Home(tmp_path / "home"), tmp_path / "keys.json"
    keys.write_text(json.dumps(tokens.keys.as_dict(private=False)))
    asked = [Pool(ModelChoice("/demo", MODEL), (CoreShare(()),))]
    pools = Pools(home, asked, lambda _: f"127.0.0.1:{free_port()}")
    with guarded_groups() as groups:
        phases = Phases()
        supervisor = Supervisor([], groups=groups, report=phases)
        local = Local(home, identity, keys, pools, supervisor, phases)
        try:
            await supervisor.add(local.process(pools.replicas[0]))
            yield local
        finally:
            await supervisor.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def edge(local: Local, mesh: Mesh, identity: Identity, tmp_path: Path) -> AsyncIterator[Front]:
    settings = edge_settings(
        identity("edge"),
        tmp_path,
        **{**mesh.upstreams(), "models": local.pools.addresses},
        listen_address=f"127.0.0.1:{free_port()}",
        admin_address=f"unix:{tmp_path}/admin.sock",
        health_check_seconds=0.2,
    )
    async with front(settings, tmp_path) as running:
        yield running


@pytest.fixture
def membership(local: Local, edge: Front) -> Membership:
    at_edge = EdgePools(EndpointFiles.beside(edge.folder / CONFIGURATION), Admin(edge.settings.admin_address))
    return Membership(local.pools, local.supervisor, at_edge, local.process, None)


class Calls:
    """Short chats, one after another without end, at a pace that leaves others room.

    Attributes:
        answered_by: The replicas, in the order of the answers.
        errors: What calls failed with.
    """

    def __init__(self, channel: grpc.aio.Channel, tokens: TokenMaker) -> None:
        self.answered_by: list[str] = []
        self.errors: list[grpc.aio.AioRpcError] = []
        self._stub = InferenceServiceStub(channel)
        self._tokens = tokens

    @asynccontextmanager
    async def running(self, callers: int) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._call_on()) for _ in range(callers)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _call_on(self) -> None:
        while True:
            await asyncio.sleep(PACE_SECONDS)
            call = self._stub.Chat(chat_request("Hi"), metadata=self._tokens.metadata("*"), timeout=60)
            try:
                started, *_ = [answer.event async for answer in call]
                self.answered_by.append(started.started.model)
            except grpc.aio.AioRpcError as error:
                self.errors.append(error)

    async def until_answered(self, by: set[str], last: int = 20) -> None:
        """Wait until these replicas, and no others, gave the last answers."""
        seen = len(self.answered_by)

        async def so() -> bool | None:
            answers = self.answered_by[seen:]
            return (len(answers) >= last and set(answers[-last:]) == by) or None

        await eventually(so)


class Talk:
    """A stream that goes on for as long as the test wants."""

    def __init__(self, channel: grpc.aio.Channel, tokens: TokenMaker) -> None:
        stub = InferenceServiceStub(channel)
        self._call: Any = stub.Converse(metadata=tokens.metadata("*"), timeout=LIMIT_SECONDS)

    async def answered_by(self) -> str:
        await self._call.write(converse_pb2.ConverseRequest(user_turn={"content": [{"text": "Hi"}]}))
        return str((await self._call.read()).event.started.model)

    async def ends_well(self) -> bool:
        await self._call.done_writing()
        return await self._call.read() is grpc.aio.EOF and (await self._call.code()) is grpc.StatusCode.OK


async def test_replicas_join_and_leave_and_are_replaced_and_no_stream_is_lost(
    local: Local, edge: Front, membership: Membership, tokens: TokenMaker
) -> None:
    steps: list[str] = []
    (first,) = local.pools.replicas
    async with asyncio.timeout(LIMIT_SECONDS), edge.channel() as channel, edge.channel() as other:
        calls, talk = Calls(channel, tokens), Talk(other, tokens)
        assert await talk.answered_by() == "inference-1"
        async with calls.running(callers=4):
            await membership.add(MODEL, 1, steps.append)
            await calls.until_answered({"inference-1", "inference-2"})

            leaving = asyncio.create_task(membership.remove("inference-1", LIMIT_SECONDS, steps.append))
            await local.phases.until("inference-1", Phase.DRAINING)
            await calls.until_answered({"inference-2"})
            assert await talk.answered_by() == "inference-1"
            assert not leaving.done()
            assert await talk.ends_well()
            await leaving
            assert first.address not in local.pools.addresses[MODEL]

            talk = Talk(other, tokens)
            assert await talk.answered_by() == "inference-2"
            fresh = ModelChoice("/fresh", "another")
            reloading = asyncio.create_task(membership.reload(MODEL, fresh, LIMIT_SECONDS, steps.append))
            await local.phases.until("inference-2", Phase.DRAINING)
            await calls.until_answered({"inference-3"})
            assert await talk.answered_by() == "inference-2"
            assert await talk.ends_well()
            await reloading
        assert calls.errors == []
    (now,) = membership.replicas()
    assert (now.name, now.model, now.source, now.phase) == ("inference-3", MODEL, "/fresh", "ready")
    assert [local.phases.last[f"inference-{number}"] for number in (1, 2)] == [Phase.STOPPED] * 2
    with pytest.raises(CommandError, match="inference-3 is the only replica of demo"):
        await membership.remove("inference-3", 0, steps.append)
