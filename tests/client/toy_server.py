"""A real gRPC server over TLS that answers as the platform would, without anything behind it."""

from __future__ import annotations

import asyncio
import threading

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from parley.auth.v1.key_service_pb2_grpc import add_KeyServiceServicer_to_server
from parley.auth.v1.session_service_pb2_grpc import add_SessionServiceServicer_to_server
from parley.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from parley.tools.v1.tool_service_pb2_grpc import add_ToolServiceServicer_to_server
from services.rpc.tls import TlsFiles
from tests.client.toy_platform import ToyPlatform
from tests.client.toy_services import Administered, Inference, Keys, Sessions, Tools

SERVING = health_pb2.HealthCheckResponse.SERVING


class RunningPlatform:
    """A toy on a thread of its own, so that a command may run its own event loop."""

    def __init__(self, tls: TlsFiles) -> None:
        self.toy = ToyPlatform()
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="toy platform")

    def __enter__(self) -> ToyPlatform:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self.toy

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(0), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        material = self._tls.read()
        self._server = grpc.aio.server()
        credentials = grpc.ssl_server_credentials([(material.private_key, material.certificate)])
        self.toy.address = f"localhost:{self._server.add_secure_port('127.0.0.1:0', credentials)}"
        add_InferenceServiceServicer_to_server(Inference(self.toy), self._server)
        add_ToolServiceServicer_to_server(Tools(self.toy), self._server)
        add_KeyServiceServicer_to_server(Keys(self.toy), self._server)
        add_SessionServiceServicer_to_server(Sessions(self.toy), self._server)
        self._server.add_generic_rpc_handlers((Administered(self.toy),))
        record = health.aio.HealthServicer()
        for service in ("parley.auth.v1.SessionService", "parley.tools.v1.ToolService"):
            await record.set(service, SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(record, self._server)
        await self._server.start()
