"""A toy service with all four shapes, behind the real server and channel."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest
from ulid import ULID

from protos.generate import run_protoc
from services.rpc.call import current_call
from services.rpc.channel import RotatingChannel, open_channel
from services.rpc.errors import Overloaded
from services.rpc.revocations import Revocations
from services.rpc.server import RpcServer
from services.rpc.settings import ServiceSettings
from services.rpc.tls import TlsFiles

GOLD_TENANT = str(ULID())
SHAPES = ["Unary", "ServerStream", "ClientStream", "BidiStream"]


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The toy contract's generated code: messages and stubs in one namespace."""
    scratch = tmp_path_factory.mktemp("toy")
    source = Path(__file__).parent
    run_protoc(scratch, f"-I{source}", f"--python_out={scratch}", f"--grpc_python_out={scratch}", "toy.proto")
    messages = _load(scratch, "toy_pb2")
    stubs = _load(scratch, "toy_pb2_grpc")
    names = {**vars(messages), **vars(stubs)}
    return type(
        "Toy", (), {name: staticmethod(value) if callable(value) else value for name, value in names.items()}
    )


def _load(folder: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class ToyServicer:
    """Does what `behaviour` says, in every shape."""

    def __init__(self, toy: Any) -> None:
        self._toy = toy
        self.waiting = asyncio.Event()
        self.cancelled = asyncio.Event()
        self._sent = asyncio.Event()

    async def stuck(self) -> None:
        """Wait until a flood has filled all buffers on its way: nothing more is sent for a moment."""
        with suppress(TimeoutError):
            while True:
                self._sent.clear()
                await asyncio.wait_for(self._sent.wait(), 0.2)

    async def _behave(self, request: Any) -> Any:
        match request.behaviour:
            case "overloaded":
                raise Overloaded("Too much at once.")
            case "fault":
                raise RuntimeError("the secret inward detail")
            case "wait":
                self.waiting.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    self.cancelled.set()
        call = current_call()
        return self._toy.ToyResponse(text=f"{request.behaviour} {call.peer} {call.request_id}")

    async def Unary(self, request: Any, context: Any) -> Any:
        return await self._behave(request)

    Anonymous = Authenticated = Unary

    async def ServerStream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield self._toy.ToyResponse(text="first")
        if request.behaviour == "flood":
            try:
                while True:
                    self._sent.set()
                    yield self._toy.ToyResponse(text="x" * 65536)
            finally:
                self.cancelled.set()
        yield await self._behave(request)

    async def ClientStream(self, requests: AsyncIterator[Any], context: Any) -> Any:
        return [await self._behave(request) async for request in requests][-1]

    async def BidiStream(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            yield await self._behave(request)


@dataclass
class ToyMesh:
    """A running toy server and what is needed to reach it."""

    toy: Any
    servicer: ToyServicer
    server: RpcServer
    port: int
    connect: Callable[..., RotatingChannel]
    revocations: Revocations = field(default_factory=lambda: Revocations(synchronized=True))

    async def call(self, shape: str, *requests: Any, peer: str = "edge", metadata: Any = ()) -> list[Any]:
        """Call a method of any shape and give its answers."""
        channel = self.connect(peer)
        try:
            method = getattr(self.toy.ToyServiceStub(channel), shape)
            request = iter(requests) if shape in ("ClientStream", "BidiStream") else requests[0]
            call = method(request, metadata=metadata, timeout=20)
            if shape in ("ServerStream", "BidiStream"):
                return [answer async for answer in call]
            return [await call]
        finally:
            await channel.close()

    async def refusal(self, shape: str, *requests: Any, **options: Any) -> grpc.aio.AioRpcError:
        """Call a method that must fail and give its error."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(shape, *requests, **options)
        return caught.value


@pytest.fixture
def settings(identity: Callable[[str], TlsFiles]) -> ServiceSettings:
    files = identity("toy")
    return ServiceSettings(
        tls_certificate_path=files.certificate,
        tls_private_key_path=files.private_key,
        tls_authority_path=files.authority,
        drain_seconds=0,
        grace_seconds=0,
        tenant_classes={GOLD_TENANT: "gold"},
    )


@pytest.fixture
async def mesh(
    toy: Any, settings: ServiceSettings, tokens: Any, identity: Callable[[str], TlsFiles]
) -> AsyncIterator[ToyMesh]:
    servicer = ToyServicer(toy)
    revocations = Revocations(synchronized=True)
    server = RpcServer(settings, tokens.verifier(), revocations=revocations)
    server.add(toy.add_ToyServiceServicer_to_server, servicer)
    port = await server.start()

    def connect(peer: str, tls: TlsFiles | None = None) -> RotatingChannel:
        return open_channel(
            f"127.0.0.1:{port}", tls=tls or identity(peer), service="toy", trust_domain="parley.local"
        )

    yield ToyMesh(toy, servicer, server, port, connect, revocations)
    await server.stop()
