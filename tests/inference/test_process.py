"""The service as its own process: start-up, health, a whole run, death and SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.local.preflight import free_port
from parley.auth.v1 import quota_service_pb2, revocation_service_pb2, session_service_pb2
from parley.auth.v1.quota_service_pb2_grpc import QuotaServiceServicer, add_QuotaServiceServicer_to_server
from parley.auth.v1.revocation_service_pb2_grpc import (
    RevocationServiceServicer,
    add_RevocationServiceServicer_to_server,
)
from parley.auth.v1.session_service_pb2_grpc import (
    SessionServiceServicer,
    add_SessionServiceServicer_to_server,
)
from parley.inference.v1 import adapter_service_pb2, chat_pb2, message_pb2
from parley.inference.v1.adapter_service_pb2_grpc import AdapterServiceStub
from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from services.rpc.channel import open_channel
from services.rpc.errors import error_info
from services.rpc.server import RpcServer
from tests.conftest import TokenMaker
from tests.inference.replicas import Identity, settings_for
from tests.inference.scripted_tools import ToolsProcess
from tests.inference.tiny_adapter import make_twist
from tests.inference.tiny_model import make
from tests.unmeasured import MEASURES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

READY_SECONDS = 400
END_SECONDS = 60
PERMISSIONS = ("inference.chat", "inference.models", "models.*", "tools.list", "tools.execute")


class Keys(SessionServiceServicer):
    """Gives the signing keys and nothing else."""

    def __init__(self, tokens: TokenMaker) -> None:
        self._keys = tokens.keys.as_dict(private=False)["keys"]

    async def GetJwks(self, request: Any, context: Any) -> session_service_pb2.GetJwksResponse:
        fields = ("kty", "crv", "x", "y", "kid", "use", "alg")
        keys = [{name: key[name] for name in fields} for key in self._keys]
        return session_service_pb2.GetJwksResponse(
            keys=[session_service_pb2.JsonWebKey(**key) for key in keys]
        )

    def _refuse(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    Login = Refresh = WhoAmI = _refuse


class NoQuotas(QuotaServiceServicer):
    """Holds nobody to anything."""

    async def GetEffectiveLimits(
        self, request: Any, context: Any
    ) -> quota_service_pb2.GetEffectiveLimitsResponse:
        return quota_service_pb2.GetEffectiveLimitsResponse()

    def _refuse(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    SetQuota = GetQuota = ListQuotas = DeleteQuota = GetQuotaStatus = _refuse


class NoRevocations(RevocationServiceServicer):
    """Knows of nothing that was revoked, and says so."""

    async def WatchRevocations(
        self, request: Any, context: Any
    ) -> AsyncIterator[revocation_service_pb2.WatchRevocationsResponse]:
        yield revocation_service_pb2.WatchRevocationsResponse(
            synchronized=revocation_service_pb2.Synchronized()
        )
        await asyncio.Event().wait()


@dataclass
class Service:
    """A running `python -m services.inference`."""

    process: asyncio.subprocess.Process
    chat: Any
    adapters: Any
    health: Any
    log: Path

    async def exit_code(self) -> int:
        """How the process ended; where it does not, its log has where it hangs."""
        try:
            return await asyncio.wait_for(self.process.wait(), END_SECONDS)
        except TimeoutError:
            self.process.send_signal(signal.SIGABRT)
            await self.process.wait()
            raise AssertionError(self.log.read_text()) from None

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    async def status(self) -> int:
        try:
            answer = await self.health.Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.aio.AioRpcError:
            return int(health_pb2.HealthCheckResponse.UNKNOWN)
        return int(answer.status)

    async def wait_for(self, status: int) -> None:
        async with asyncio.timeout(READY_SECONDS):
            while await self.status() != status:
                assert self.process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("model"))


@pytest.fixture
async def auth_port(identity: Identity, tokens: TokenMaker) -> AsyncIterator[int]:
    server = RpcServer(settings_for(identity("auth")), tokens.verifier())
    server.add(add_SessionServiceServicer_to_server, Keys(tokens))
    server.add(add_QuotaServiceServicer_to_server, NoQuotas())
    server.add(add_RevocationServiceServicer_to_server, NoRevocations())
    yield await server.start()
    await server.stop()


@pytest.fixture
def environment(
    identity: Identity, model: Path, auth_port: int, tools_process: ToolsProcess, store_url: str
) -> dict[str, str]:
    tls = identity("inference")
    own = {
        "LISTEN_ADDRESS": f"127.0.0.1:{free_port()}",
        "TLS_CERTIFICATE_PATH": str(tls.certificate),
        "TLS_PRIVATE_KEY_PATH": str(tls.private_key),
        "TLS_AUTHORITY_PATH": str(tls.authority),
        "AUTH_ADDRESS": f"127.0.0.1:{auth_port}",
        "TOOLS_ADDRESS": f"127.0.0.1:{tools_process.port}",
        "STORE_URL": store_url,
        "MODEL": str(model),
        "MODEL_NAME": "tiny",
        "KV_CACHE_BYTES": str(64 * 2**20),
        "DRAIN_SECONDS": "0",
        "GRACE_SECONDS": "1",
    }
    ours = ("PARLEY_", "VLLM_", MEASURES)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    kept["PYTHONFAULTHANDLER"] = "1"
    return {**kept, **{f"PARLEY_INFERENCE_{name}": value for name, value in own.items()}}


@asynccontextmanager
async def running(environment: dict[str, str], edge: Any, log: Path) -> AsyncIterator[Service]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.inference", env=environment, stdout=output, stderr=output
        )
    try:
        address = environment["PARLEY_INFERENCE_LISTEN_ADDRESS"]
        async with open_channel(
            address, tls=edge, service="inference", trust_domain="parley.local"
        ) as channel:
            stubs = (
                InferenceServiceStub(channel),
                AdapterServiceStub(channel),
                health_pb2_grpc.HealthStub(channel),
            )
            yield Service(process, *stubs, log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def question(text: str) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(
        messages=[
            message_pb2.Message(role=message_pb2.ROLE_USER, content=[message_pb2.ContentPart(text=text)])
        ],
        server_tools=chat_pb2.ServerTools(all=True),
    )


async def gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that are still there after a while."""
    return (await asyncio.to_thread(psutil.wait_procs, processes, END_SECONDS))[1]


async def said(service: Service, metadata: Any, model: str) -> str:
    """What a model answers to a greeting."""
    greeting = chat_pb2.ChatRequest(model=model, messages=question("Hi").messages)
    responses = service.chat.Chat(greeting, metadata=metadata)
    return "".join([response.event.content_delta.text async for response in responses])


async def adapted(service: Service, tokens: TokenMaker) -> list[str]:
    """What the model and its adapter say while that is loaded, and what the model says then."""
    metadata = tokens.metadata("inference.*", "models.*")
    named = {"adapter": "twist"}
    await service.adapters.LoadAdapter(adapter_service_pb2.LoadAdapterRequest(**named), metadata=metadata)
    answers = [await said(service, metadata, model) for model in ("tiny", "tiny:twist")]
    await service.adapters.UnloadAdapter(adapter_service_pb2.UnloadAdapterRequest(**named), metadata=metadata)
    return [*answers, await said(service, metadata, "tiny")]


async def test_whole_runs_then_sigterm(
    environment: dict[str, str], identity: Identity, tokens: TokenMaker, model: Path, tmp_path: Path
) -> None:
    make_twist(model, tmp_path / "twist", "Hello, ", "It is ")
    environment["PARLEY_INFERENCE_ADAPTERS_PATH"] = str(tmp_path)
    async with running(environment, identity("edge"), tmp_path / "log") as service:
        await service.wait_for(health_pb2.HealthCheckResponse.NOT_SERVING)
        await service.wait_for(health_pb2.HealthCheckResponse.SERVING)
        call = service.chat.Chat(question("What is 17 * 23?"), metadata=tokens.metadata(*PERMISSIONS))
        events = [response.event async for response in call]
        answers = await adapted(service, tokens)
        children = service.children()
        service.process.send_signal(signal.SIGTERM)
        assert await service.exit_code() == 0, service.log.read_text()
        assert await gone(children) == []
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "started"
    assert not events[0].started.HasField("tools_error"), events[0].started.tools_error
    assert kinds.count("tool_result") == 1
    answer = "".join(event.content_delta.text for event in events)
    assert answer == "It is three hundred and ninety-one."
    assert events[-1].finished.reason == chat_pb2.FINISH_REASON_STOP
    assert answers == ["Hello, world.", "Hello, three hundred and ninety-one.", "Hello, world."]
    assert '"event": "ready"' in service.log.read_text()
    assert "Traceback" not in service.log.read_text()


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files whose path is short: a socket's may have 107 characters."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


def sockets_in(temporary: Path) -> list[tuple[int, int]]:
    """Of each folder in which an engine's processes keep their sockets: its mode, and how many there are."""
    folders = temporary.glob("parley-engine-*")
    return [(stat.S_IMODE(folder.stat().st_mode), len(list(folder.iterdir()))) for folder in folders]


async def test_a_killed_engine_ends_streams_typed_and_the_process_with_an_error(
    environment: dict[str, str], identity: Identity, tokens: TokenMaker, tmp_path: Path, temporary: Path
) -> None:
    environment["TMPDIR"] = str(temporary)
    async with running(environment, identity("edge"), tmp_path / "log") as service:
        await service.wait_for(health_pb2.HealthCheckResponse.SERVING)
        [(mode, sockets)] = sockets_in(temporary)
        assert mode == 0o700
        assert sockets > 0
        request = chat_pb2.ChatRequest(messages=question("count").messages)
        call = service.chat.Chat(request, metadata=tokens.metadata(*PERMISSIONS))
        await call.read()
        await call.read()
        children = service.children()
        for child in children:
            if "resource_tracker" not in " ".join(child.cmdline()):
                child.kill()
        response = last = await call.read()
        while response is not grpc.aio.EOF:
            last, response = response, await call.read()
        assert await service.exit_code() == 1
        assert await gone(children) == []
    assert sockets_in(temporary) == []
    assert last.event.finished.reason == chat_pb2.FINISH_REASON_ERROR
    info = error_info(last.event.finished.error)
    assert info is not None
    assert info.reason == "ENGINE_FAILED"
    assert "died" in service.log.read_text().splitlines()[-1]


async def test_sigterm_while_loading_leaves_nothing(
    environment: dict[str, str], identity: Identity, tmp_path: Path
) -> None:
    async with running(environment, identity("edge"), tmp_path / "log") as service:
        async with asyncio.timeout(READY_SECONDS):
            while len(service.children()) < 2:  # noqa: ASYNC110 - processes send no events
                await asyncio.sleep(0.1)
        children = service.children()
        service.process.send_signal(signal.SIGTERM)
        assert await service.exit_code() == 0, service.log.read_text()
        assert await gone(children) == []


async def test_a_killed_service_leaves_no_engine(
    environment: dict[str, str], identity: Identity, tmp_path: Path
) -> None:
    async with running(environment, identity("edge"), tmp_path / "log") as service:
        await service.wait_for(health_pb2.HealthCheckResponse.SERVING)
        children = service.children()
        assert children
        service.process.kill()
        assert await gone(children) == []


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"MODEL": "./no-such-folder"}, "There is no model folder ./no-such-folder"),
        ({"MODEL": str(Path(__file__).parent)}, "config.json is missing"),
        ({"MODLE": "x"}, "did you mean PARLEY_INFERENCE_MODEL"),
        ({"KV_CACHE_BYTES": str(2**50)}, "Too little memory"),
    ],
)
async def test_what_is_wrong_at_the_start_is_said_in_one_line(
    environment: dict[str, str], identity: Identity, tmp_path: Path, changes: dict[str, str], line: str
) -> None:
    wrong = {**environment, **{f"PARLEY_INFERENCE_{name}": value for name, value in changes.items()}}
    async with running(wrong, identity("edge"), tmp_path / "log") as service:
        assert await asyncio.wait_for(service.process.wait(), READY_SECONDS) == 1
    said = service.log.read_text().splitlines()
    assert line in said[-1]
    assert "Traceback" not in service.log.read_text()
