"""A gRPC server of the mesh: mTLS, interceptors, health, reflection, drain."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

import grpc
import structlog
import uvloop
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from opentelemetry.trace import Tracer

from services.rpc.audit import AuditSink
from services.rpc.certificate_expiry import watch_certificate
from services.rpc.errors import MethodUnknown
from services.rpc.interceptors.chain import interceptor_chain
from services.rpc.interceptors.ongoing import Ongoing
from services.rpc.leaving import LEAVE_SIGNAL
from services.rpc.policies import access_table
from services.rpc.revocations import Revocations
from services.rpc.settings import ServiceSettings
from services.rpc.tasks import end_task
from services.rpc.tls import server_credentials
from services.rpc.verifier import Verifier

HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"

AddToServer = Callable[[Any, Any], None]

MAX_METADATA_BYTES = 96 * 1024


class RpcServer:
    """Serves servicers under the platform's rules.

    Add servicers, `start`, then `serve_until_stopped`. The server starts as
    NOT_SERVING; its owner calls `set_serving` when it can answer.

    Attributes:
        stopping: Set when running calls shall end: streams that follow something for ever wait for it.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        verifier: Verifier,
        *,
        revocations: Revocations | None = None,
        health_servicer: health.aio.HealthServicer | None = None,
        reflected: Iterable[str] = (),
        audit: AuditSink | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """Make a server.

        Args:
            settings: Where and how to serve.
            verifier: Takes the callers' tokens.
            revocations: The tokens that are good no longer; None where there can be none.
            health_servicer: Holds the health of this server, and of whatever else its owner sets there.
            reflected: Services to describe beside those that are served here.
            audit: Takes what is decided and done; None where nobody does.
            tracer: Makes spans; None where nothing is traced.
        """
        self._settings = settings
        self._verifier = verifier
        self._revocations = Revocations(synchronized=True) if revocations is None else revocations
        self._health = health_servicer or health.aio.HealthServicer()
        self._reflected = set(reflected)
        self._audit = audit
        self._tracer = tracer
        self._added: list[tuple[AddToServer, object]] = []
        self._server: grpc.aio.Server | None = None
        self.stopping = asyncio.Event()
        self._stop_asked = asyncio.Event()
        self._leave_asked = asyncio.Event()
        self._ongoing = Ongoing()
        self._log = structlog.get_logger("parley.rpc")

    def add(self, add_to_server: AddToServer, servicer: object) -> None:
        """Serve a servicer; `add_to_server` is the generated `add_…Servicer_to_server`."""
        self._added.append((add_to_server, servicer))

    @property
    def services(self) -> list[str]:
        """Full names of the services that were added, sorted."""
        recorder = _ServiceNames()
        for add_to_server, servicer in self._added:
            add_to_server(servicer, recorder)
        return sorted(recorder.names)

    async def start(self) -> int:
        """Bind and serve.

        Returns:
            The port that was bound.

        Raises:
            PolicyMissing: A method declares no access rule.
            OSError: The address cannot be bound, or a TLS file not be read.
        """
        server = self._build()
        for add_to_server, servicer in self._added:
            add_to_server(servicer, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        shown = sorted({*self.services, *self._reflected, HEALTH, REFLECTION})
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
            reflection.aio.ReflectionServicer(shown), server
        )
        server.add_generic_rpc_handlers((_UnknownMethods(),))
        address = self._settings.listen_address
        try:
            port = server.add_secure_port(address, server_credentials(self._settings.tls))
        except RuntimeError:
            raise OSError(f"cannot listen on {address}: is the port in use?") from None
        await server.start()
        watch_certificate(self._settings.tls.certificate)
        self._server = server
        await self._announce(serving=False)
        self._log.info("listening", address=f"{address.rpartition(':')[0]}:{port}", services=self.services)
        return port

    def _build(self) -> grpc.aio.Server:
        """The bare server with its interceptors and limits."""
        served = [*self.services, HEALTH, REFLECTION]
        settings = self._settings
        chain = interceptor_chain(
            access_table(served),
            _streaming_methods(served),
            self._verifier,
            self._revocations,
            self._ongoing,
            trust_domain=settings.trust_domain,
            unary_deadline_seconds=settings.unary_deadline_seconds,
            audit=self._audit,
            audit_content=settings.audit_content == "full",
            tracer=self._tracer,
            tenant_classes=settings.tenant_classes,
        )
        return grpc.aio.server(
            interceptors=(chain,),
            maximum_concurrent_rpcs=settings.max_concurrent_calls,
            options=(
                ("grpc.so_reuseport", 0),  # a port in use is an error, not a second server
                # The edge lets 60 KiB of headers in; beyond its own limit gRPC tells callers their names.
                ("grpc.max_metadata_size", MAX_METADATA_BYTES),
                ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", settings.max_message_bytes),
                # The edge pings idle connections every 10 s; do not take that for abuse.
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ),
        )

    async def set_serving(self, serving: bool) -> None:
        """Tell health checks whether this server can answer."""
        if not self._stop_asked.is_set() and not self._leave_asked.is_set():
            await self._announce(serving=serving)

    async def report(self, dependency: str, *, answers: bool) -> None:
        """Show something that this server needs in its health, under a name of its own."""
        await self._health.set(dependency, _health_status(serving=answers))

    async def _announce(self, *, serving: bool) -> None:
        for name in ("", *self.services):
            await self._health.set(name, _health_status(serving=serving))

    async def serve_until_stopped(self, idle: Callable[[], Awaitable[None]] | None = None) -> None:
        """Serve until SIGTERM, SIGINT or `ask_to_stop`, then drain and stop.

        After `LEAVE_SIGNAL` it serves on, as NOT_SERVING, until the last call is over, and then stops by
        itself; whoever sends it has seen to it that no more calls come.

        Args:
            idle: Returns when what goes on without a call is over, too.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_asked.set)
        loop.add_signal_handler(LEAVE_SIGNAL, self._leave_asked.set)
        leaving = asyncio.create_task(self._leave(idle), name="leave")
        try:
            await self._stop_asked.wait()
            await self.drain()
        finally:
            await end_task(leaving)
            for number in (signal.SIGTERM, signal.SIGINT, LEAVE_SIGNAL):
                loop.remove_signal_handler(number)

    async def _leave(self, idle: Callable[[], Awaitable[None]] | None) -> None:
        """Once told to, let everything end, and stop."""
        await self._leave_asked.wait()
        self._log.info("leaving")
        await self._announce(serving=False)
        await self._ongoing.until_none()
        if idle is not None:
            await idle()
            await self._ongoing.until_none()  # somebody may have come meanwhile to read what was left
        self.ask_to_stop()

    def ask_to_stop(self) -> None:
        """Make `serve_until_stopped` drain and return."""
        self._stop_asked.set()

    async def drain(self) -> None:
        """Stop without losing a call.

        NOT_SERVING first, so that the edge sends new calls elsewhere; refuse
        new ones only when it has had time to notice; give running ones the
        grace that the settings allow.
        """
        self._log.info("draining")
        await self._announce(serving=False)
        await asyncio.sleep(self._settings.drain_seconds)
        await self.stop()

    async def stop(self) -> None:
        """Refuse new calls and end the running ones after the grace."""
        self.stopping.set()
        if self._server is not None:
            await self._server.stop(self._settings.grace_seconds)
            self._server = None


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a process's main coroutine on uvloop."""
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main())


def _health_status(*, serving: bool) -> health_pb2.HealthCheckResponse.ServingStatus:
    return health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING


def _streaming_methods(services: Iterable[str]) -> frozenset[str]:
    """The methods of these services whose answer is a stream."""
    pool = descriptor_pool.Default()
    return frozenset(
        f"/{service}/{method.name}"
        for service in services
        for method in pool.FindServiceByName(service).methods
        if method.server_streaming
    )


class _ServiceNames:
    """Stands in for a server to learn what generated code would register."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def add_generic_rpc_handlers(self, handlers: Iterable[Any]) -> None:
        """Note the service of each handler."""
        self.names.extend(handler.service_name() for handler in handlers)

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        """The same service again, for grpc's fast path."""


class _UnknownMethods(grpc.GenericRpcHandler):
    """Answers methods that nobody serves with a typed error; `PeerCheck` raises it."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """Serve any method, of any shape, by refusing it."""

        async def refuse(_requests: Any, _context: Any) -> Any:
            raise MethodUnknown
            yield

        return grpc.stream_stream_rpc_method_handler(refuse)
