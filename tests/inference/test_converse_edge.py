"""Conversations and answers to waiting calls through the real edge, with a real auth service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from cli.local.preflight import free_port
from parley.auth.v1 import key_service_pb2
from parley.auth.v1.key_service_pb2_grpc import KeyServiceStub
from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from parley.tools.v1.tool_service_pb2_grpc import add_ToolServiceServicer_to_server
from services.inference.reading.step import ContentDelta
from services.rpc.channel import open_channel
from services.rpc.server import RpcServer
from services.rpc.tls import TlsFiles
from services.rpc.verifier import JwksVerifier, remote_keys
from tests.conftest import AUDIENCE, ISSUER
from tests.edge.conftest import edge_settings
from tests.edge.front import Front, front
from tests.inference.replicas import InferenceProcess, Replica, settings_for
from tests.inference.scripted import Gate, ScriptedEngine, calls, says
from tests.inference.scripted_tools import ScriptedToolService, ToolsProcess
from tests.inference.talk import Talk
from tests.inference.test_answers import DANGER
from tests.inference.test_servicer import wait_until_free
from tests.running_auth import bearer, running_auth

pytestmark = pytest.mark.slow

Identity = Callable[[str], TlsFiles]


@dataclass
class Outside:
    """What a caller outside has: an edge and an API key.

    Attributes:
        edge: The edge.
        stub: Inference, through it.
        key: Metadata with the key.
        engine: What answers behind it.
        process: The replica that it runs in.
    """

    edge: Front
    stub: Any
    key: tuple[tuple[str, str], ...]
    engine: ScriptedEngine
    process: InferenceProcess


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
async def auth(stack: AsyncExitStack, tmp_path: Path, identity: Identity) -> Any:
    return await stack.enter_async_context(running_auth(tmp_path, identity))


@pytest.fixture
async def verifier(auth: Any, stack: AsyncExitStack, identity: Identity) -> JwksVerifier:
    opened = open_channel(auth.address, tls=identity("tools"), service="auth", trust_domain="parley.local")
    channel = await stack.enter_async_context(opened)
    return JwksVerifier(remote_keys(channel), issuer=ISSUER, audience=AUDIENCE)


@pytest.fixture
async def tools_process(identity: Identity, verifier: JwksVerifier, stack: AsyncExitStack) -> ToolsProcess:
    """Tools that take the tokens of the running auth."""
    server, service = RpcServer(settings_for(identity("tools")), verifier), ScriptedToolService()
    server.add(add_ToolServiceServicer_to_server, service)
    port = await server.start()
    stack.push_async_callback(server.stop)
    return ToolsProcess(service, server, port)


@pytest.fixture
async def outside(
    auth: Any,
    verifier: JwksVerifier,
    replica: Replica,
    tools_process: ToolsProcess,
    identity: Identity,
    stack: AsyncExitStack,
    tmp_path: Path,
) -> Outside:
    engine = ScriptedEngine()
    process = await stack.enter_async_context(replica(engine, verifier=verifier))
    for server in (process.server, tools_process.server):
        await server.set_serving(True)
    settings = edge_settings(
        identity("edge"),
        tmp_path,
        listen_address=f"127.0.0.1:{free_port()}",
        auth_addresses=[auth.address],
        tools_addresses=[f"127.0.0.1:{tools_process.port}"],
        models={"scripted": [f"127.0.0.1:{process.port}"]},
    )
    edge = await stack.enter_async_context(front(settings, tmp_path))
    channel = await stack.enter_async_context(edge.channel())
    login = bearer((await auth.login()).access_token)
    request = key_service_pb2.CreateKeyRequest(name="a key")
    made = await KeyServiceStub(channel).CreateKey(request, metadata=login, timeout=20)
    return Outside(edge, InferenceServiceStub(channel), (("x-api-key", made.secret),), engine, process)


async def test_a_conversation_from_outside(outside: Outside, tools_process: ToolsProcess) -> None:
    """With a key, routed by the model's name; a dangerous call is approved as JSON beside the stream."""
    gate = Gate()
    outside.engine.script(calls(DANGER), says("Done."), [ContentDelta("Once"), gate], says("Short."))
    talk = Talk(outside.stub, (*outside.key, ("parley-model", "scripted")))
    await talk.set_up(model="scripted", conversation_id="c-1")
    await talk.say("Do it.")
    run_id = (await talk.until("started")).started.run_id
    await talk.until("approval_needed")
    decide = f"/api/v1/runs/{run_id}:decideApproval"
    async with outside.edge.http() as http:
        headers = dict(outside.key)
        yes = {"decision": {"callId": "call-1", "verdict": "APPROVAL_VERDICT_APPROVE"}}
        nobody = await http.post(decide, json=yes)
        unknown = await http.post(
            decide, json={"decision": {**yes["decision"], "callId": "x"}}, headers=headers
        )
        taken = await http.post(decide, json=yes, headers=headers)
    assert [nobody.status_code, unknown.status_code, taken.status_code] == [401, 400, 200]
    assert unknown.json()["details"][0]["reason"] == "CALL_NOT_WAITING"
    assert await talk.finish() == "STOP"
    assert [call.conversation_id for call in tools_process.service.calls] == ["c-1"]
    await talk.say("A story.")
    await gate.reached.wait()
    await talk.send(interrupt={})
    assert await talk.finish() == "CANCELLED"
    await talk.say("Be short.")
    assert await talk.finish() == "STOP"
    assert await talk.hang_up() is grpc.aio.EOF


async def test_who_shows_nothing_has_no_conversation(outside: Outside) -> None:
    talk = Talk(outside.stub, ())
    assert await talk.failure() == "TOKEN_MISSING"


async def test_a_client_that_vanishes_behind_the_edge_frees_everything(outside: Outside) -> None:
    gate = Gate()
    outside.engine.script([gate])
    talk = Talk(outside.stub, outside.key)
    await talk.set_up()
    await talk.say("Hello")
    await gate.reached.wait()
    talk.call.cancel()
    await wait_until_free(outside.engine, outside.process.runs)
    assert len(outside.process.runs) == 0
