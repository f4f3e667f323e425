"""Runs that may outlive their caller's token call tools with one of their own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from parley.auth.v1 import token_service_pb2
from parley.auth.v1.token_service_pb2_grpc import TokenServiceStub
from parley.inference.v1 import chat_pb2
from parley.tools.v1 import tool_service_pb2
from parley.tools.v1.tool_service_pb2_grpc import ToolServiceStub, add_ToolServiceServicer_to_server
from services.inference.calling.run_tokens import ExchangedTokens
from services.inference.engine.turn import ToolCall
from services.rpc.call import current_principal
from services.rpc.channel import open_channel
from services.rpc.errors import error_info, status_of
from services.rpc.principal import Principal
from services.rpc.server import RpcServer
from services.rpc.tls import TlsFiles
from services.rpc.verifier import JwksVerifier, remote_keys
from tests.conftest import AUDIENCE, ISSUER
from tests.inference.replicas import Replica, settings_for
from tests.inference.scripted import ScriptedEngine, calls, says
from tests.inference.scripted_tools import ScriptedToolService, ToolsProcess
from tests.inference.talk import Talk
from tests.inference.test_servicer import read, reason, with_tools
from tests.running_auth import RunningAuth, running_auth

Identity = Callable[[str], TlsFiles]
SUM = ToolCall("call-1", "calculator", "{}")


class WatchedTools(ScriptedToolService):
    """Remembers who called."""

    def __init__(self) -> None:
        super().__init__()
        self.callers: list[Principal] = []

    async def ExecuteMany(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        self.callers.append(current_principal())
        async for response in super().ExecuteMany(request_iterator, context):
            yield response


@pytest.fixture
async def auth(tmp_path: Path, identity: Identity) -> AsyncIterator[RunningAuth]:
    """Its tokens live for two minutes, less than a run may take by default."""
    async with running_auth(tmp_path, identity, access_token_seconds=120) as running:
        yield running


Connect = Callable[[str], Any]


@pytest.fixture
async def connect(auth: RunningAuth, identity: Identity) -> AsyncIterator[Connect]:
    """Channels to auth, by the name of the caller."""
    channels = []

    def channel(peer: str) -> Any:
        channels.append(
            open_channel(auth.address, tls=identity(peer), service="auth", trust_domain="parley.local")
        )
        return channels[-1]

    yield channel
    for opened in channels:
        await opened.close()


@pytest.fixture
async def tools_process(identity: Identity, connect: Connect) -> AsyncIterator[ToolsProcess]:
    """Tools that take the tokens of the running auth, and those for tools alone."""
    keys = remote_keys(connect("tools"))
    verifier = JwksVerifier(keys, issuer=ISSUER, audience=AUDIENCE, services=("tools",))
    server, service = RpcServer(settings_for(identity("tools")), verifier), WatchedTools()
    server.add(add_ToolServiceServicer_to_server, service)
    yield ToolsProcess(service, server, await server.start())
    await server.stop()


async def chat_with_a_tool(
    replica: Replica, connect: Connect, metadata: Any, **fields: Any
) -> list[chat_pb2.ChatEvent]:
    channel = connect("inference")
    verifier = JwksVerifier(remote_keys(channel), issuer=ISSUER, audience=AUDIENCE)
    tokens = ExchangedTokens(TokenServiceStub(channel))
    async with replica(ScriptedEngine(calls(SUM), says("391.")), verifier=verifier, run_tokens=tokens) as run:
        return await read(run.stub.Chat(with_tools(**fields), metadata=metadata))


def limits(seconds: int) -> dict[str, Any]:
    run_limits = chat_pb2.RunLimits()
    run_limits.max_duration.FromSeconds(seconds)
    return {"limits": run_limits}


async def exchange(stub: Any, token: str, seconds: int = 600) -> Any:
    request = token_service_pb2.ExchangeTokenRequest(subject_token=token)
    request.life.FromSeconds(seconds)
    return await stub.ExchangeToken(request, timeout=10)


def token_in(metadata: Any) -> str:
    return str(dict(metadata)["authorization"]).removeprefix("Bearer ")


def why(caught: pytest.ExceptionInfo[grpc.aio.AioRpcError]) -> str:
    info = error_info(status_of(caught.value))
    return info.reason if info else ""


async def test_a_run_that_may_outlive_its_callers_token_calls_tools_with_one_of_its_own(
    replica: Replica, auth: RunningAuth, connect: Connect, tools_process: ToolsProcess
) -> None:
    key_id, metadata = await auth.key()
    events = await chat_with_a_tool(replica, connect, metadata)
    assert reason(events) == "STOP"
    (caller,) = tools_process.service.callers  # type: ignore[attr-defined]
    assert (caller.actor, caller.key_id, caller.username) == ("inference", key_id, "admin")
    assert (caller.at, caller.permissions) == ("tools", {"tools.*", "inference.chat", "models.*"})
    assert 590 < caller.expires_at.timestamp() - time.time() < 610


async def test_every_turn_of_a_conversation_and_calls_that_waited_have_such_a_token(
    replica: Replica, auth: RunningAuth, connect: Connect, tools_process: ToolsProcess
) -> None:
    _, metadata = await auth.key()
    channel = connect("inference")
    verifier = JwksVerifier(remote_keys(channel), issuer=ISSUER, audience=AUDIENCE)
    tokens = ExchangedTokens(TokenServiceStub(channel))
    danger = ToolCall("call-2", "danger", "{}")
    engine = ScriptedEngine(calls(SUM), says("391."), calls(danger), says("Done."))
    async with replica(engine, verifier=verifier, run_tokens=tokens) as run:
        talk = Talk(run.stub, metadata)
        await talk.set_up()
        await talk.say("What is 17 * 23?")
        assert await talk.finish() == "STOP"
        await talk.say("Do it.")
        await talk.until("approval_needed")
        await talk.send(decision={"call_id": "call-2", "verdict": "APPROVAL_VERDICT_APPROVE"})
        assert await talk.finish() == "STOP"
        assert await talk.hang_up() is grpc.aio.EOF
    callers = tools_process.service.callers  # type: ignore[attr-defined]
    assert [caller.actor for caller in callers] == ["inference", "inference"]
    assert len({caller.token_id for caller in callers}) == 2


async def test_a_run_that_ends_before_its_callers_token_needs_no_other(
    replica: Replica, auth: RunningAuth, connect: Connect, tools_process: ToolsProcess
) -> None:
    _, metadata = await auth.key()
    await chat_with_a_tool(replica, connect, metadata, **limits(30))
    (caller,) = tools_process.service.callers  # type: ignore[attr-defined]
    assert (caller.actor, caller.token) == ("", token_in(metadata))


async def test_a_runs_token_is_good_at_tools_and_for_inference_alone(
    auth: RunningAuth, connect: Connect, identity: Identity, tools_process: ToolsProcess
) -> None:
    _, metadata = await auth.key()
    token = (await exchange(TokenServiceStub(connect("inference")), token_in(metadata))).access_token
    for services in ((), ("inference",)):
        verifier = JwksVerifier(
            remote_keys(connect("inference")), issuer=ISSUER, audience=AUDIENCE, services=services
        )
        with pytest.raises(Exception, match="not one that this deployment made for this service"):
            await verifier.verify(token)
    address = f"127.0.0.1:{tools_process.port}"
    async with open_channel(
        address, tls=identity("edge"), service="tools", trust_domain="parley.local"
    ) as edge:
        stub: Any = ToolServiceStub(edge)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListTools(
                tool_service_pb2.ListToolsRequest(), metadata=(("authorization", f"Bearer {token}"),)
            )
    assert why(caught) == "TOKEN_INVALID"


async def test_only_inference_and_tools_may_ask(auth: RunningAuth, connect: Connect) -> None:
    _, metadata = await auth.key()
    for peer in ("edge", "operator", "web"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await exchange(TokenServiceStub(connect(peer)), token_in(metadata))
        assert why(caught) == "PEER_NOT_ALLOWED"


async def test_a_revoked_keys_token_and_a_forged_one_are_not_exchanged(
    auth: RunningAuth, connect: Connect
) -> None:
    stub = TokenServiceStub(connect("inference"))
    key_id, metadata = await auth.key()
    token = token_in(metadata)
    delegated = (await exchange(stub, token)).access_token
    for bad in ("forged", f"{token[:-8]}AAAAAAAA", delegated):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await exchange(stub, bad)
        assert why(caught) == "TOKEN_INVALID"
    await auth.revoke(key_id)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await exchange(stub, token)
    assert why(caught) == "TOKEN_REVOKED"


async def test_a_logins_token_is_exchanged_until_its_session_ends(
    auth: RunningAuth, connect: Connect
) -> None:
    stub = TokenServiceStub(connect("inference"))
    login = await auth.login()
    assert (await exchange(stub, login.access_token)).access_token
    await auth.end_login(login.refresh_token)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await exchange(stub, login.access_token)
    assert why(caught) == "TOKEN_REVOKED"


async def test_a_runs_token_lives_no_longer_than_auth_allows(auth: RunningAuth, connect: Connect) -> None:
    _, metadata = await auth.key()
    answer = await exchange(TokenServiceStub(connect("inference")), token_in(metadata), seconds=86_400)
    assert answer.expires_in.ToTimedelta().total_seconds() <= 3600


async def test_without_auth_the_run_goes_on_with_its_callers_token(
    replica: Replica, auth: RunningAuth, identity: Identity, connect: Connect, tools_process: ToolsProcess
) -> None:
    _, metadata = await auth.key()
    verifier = JwksVerifier(remote_keys(connect("inference")), issuer=ISSUER, audience=AUDIENCE)
    nowhere = open_channel(
        "127.0.0.1:1", tls=identity("inference"), service="auth", trust_domain="parley.local"
    )
    async with (
        nowhere,
        replica(
            ScriptedEngine(calls(SUM), says("391.")),
            verifier=verifier,
            run_tokens=ExchangedTokens(TokenServiceStub(nowhere)),
        ) as run,
    ):
        events = await read(run.stub.Chat(with_tools(), metadata=metadata))
    assert reason(events) == "STOP"
    (caller,) = tools_process.service.callers  # type: ignore[attr-defined]
    assert caller.token == token_in(metadata)
