"""What clients see when a part is gone, and that it comes back."""

from __future__ import annotations

import signal

import grpc
import pytest

from deploy.certificates import CertificateAuthority
from parley.inference.v1 import chat_pb2
from parley_client.client import Client, question
from parley_client.errors import ParleyError, from_status
from parley_client.stream import EventStream
from services.rpc.tls import TlsFiles
from tests.platform import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

AUTH_NAME = (("grpc.ssl_target_name_override", "auth.parley.local"),)


async def test_a_client_that_leaves_frees_the_engine(program: Client) -> None:
    """The next question finds an idle engine: its answer is whole."""
    for _ in range(8):
        async with program.chat(question("What is 17 * 23?")) as events:
            assert (await anext(events)).started.run_id
    async with program.chat(question("What is 17 * 23?"), timeout_seconds=60) as events:
        assert [event async for event in events][-1].finished.reason == chat_pb2.FINISH_REASON_STOP


async def test_cancel_ends_a_run_typed(program: Client) -> None:
    async with program.chat(question("What is 17 * 23?")) as events:
        started = (await anext(events)).started
        await program.cancel(started.run_id)
        last = [event async for event in events][-1]
    assert last.finished.reason == chat_pb2.FINISH_REASON_CANCELLED


async def test_an_unknown_run_cannot_be_cancelled(program: Client) -> None:
    with pytest.raises(ParleyError) as caught:
        await program.cancel("01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert caught.value.reason == "RUN_NOT_FOUND"


async def test_tools_down_is_said_and_the_chat_goes_on(stack: Stack, program: Client) -> None:
    async with program.chat(question("What is 17 * 23?"), timeout_seconds=60) as events:
        assert [event async for event in events]  # the catalogue is known from here on
    stack.process("tools").send_signal(signal.SIGKILL)
    async with program.chat(question("What is 17 * 23?"), timeout_seconds=60) as events:
        seen = [event async for event in events]
    failures = [from_status(event.tool_result.error) for event in seen if event.HasField("tool_result")]
    assert seen[-1].finished.reason == chat_pb2.FINISH_REASON_STOP
    assert failures, seen
    assert failures[0].code is grpc.StatusCode.UNAVAILABLE
    await stack.until(serving=True, service="parley.tools.v1.ToolService")


async def test_auth_down_tokens_go_on_keys_and_logins_are_refused(
    stack: Stack, admin: Client, program: Client
) -> None:
    async with stack.client() as stranger:
        assert await admin.list_models()
        with stack.stopped("auth"):
            assert await admin.list_models()
            with pytest.raises(ParleyError) as by_key:
                await program.list_models()
            with pytest.raises(ParleyError) as by_password:
                await stranger.login("admin", stack.password)
    await stack.until(serving=True, service="parley.auth.v1.SessionService")
    refusals = {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.PERMISSION_DENIED,
    }
    assert by_key.value.code in refusals | {grpc.StatusCode.UNAUTHENTICATED}
    assert by_password.value.code in refusals


async def typed_end(events: EventStream[chat_pb2.ChatEvent]) -> object:
    """How a stream ended: the code of its error, or the reason of its last event."""
    try:
        return [event async for event in events][-1].finished.reason
    except ParleyError as error:
        return error.code


async def test_a_killed_engine_is_brought_back(stack: Stack, program: Client) -> None:
    engines = stack.process("inference-1").children(recursive=True)
    assert engines
    async with program.chat(question("What is 17 * 23?"), timeout_seconds=60) as events:
        await anext(events)
        for engine in engines:
            engine.send_signal(signal.SIGKILL)
        end = await typed_end(events)
    assert end in (grpc.StatusCode.UNAVAILABLE, chat_pb2.FINISH_REASON_ERROR)
    await stack.until(serving=False)
    await stack.until(serving=True)
    await stack.until_answering(program)
    async with program.chat(question("What is 17 * 23?"), timeout_seconds=60) as events:
        assert [event async for event in events][-1].finished.reason == chat_pb2.FINISH_REASON_STOP


async def refused_by_auth(stack: Stack, caller: TlsFiles, method: str) -> grpc.StatusCode:
    """Calls a method of auth past the edge, with a certificate that must not do; the refusal's code."""
    state = stack.home.read_state()
    assert state is not None
    credentials = grpc.ssl_channel_credentials(
        stack.authority, caller.private_key.read_bytes(), caller.certificate.read_bytes()
    )
    async with grpc.aio.secure_channel(
        state.processes["auth"].address, credentials, options=AUTH_NAME
    ) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(method)(b"", timeout=10)
    return caught.value.code()


async def test_services_take_no_foreign_certificate(
    stack: Stack, foreign_authority: CertificateAuthority
) -> None:
    stranger = foreign_authority.issue("edge")
    code = await refused_by_auth(stack, stranger, "/parley.auth.v1.SessionService/GetJwks")
    assert code is grpc.StatusCode.UNAVAILABLE


async def test_a_sister_service_may_not_speak_as_the_edge(stack: Stack) -> None:
    sister = CertificateAuthority.open(stack.home.path / "certificates").identity("tools")
    code = await refused_by_auth(stack, sister, "/parley.auth.v1.KeyService/ListKeys")
    assert code is grpc.StatusCode.PERMISSION_DENIED
