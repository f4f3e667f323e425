"""The health of the whole platform, as auth answers it at the edge.

Each observed service is asked every second at each of its addresses; it is
SERVING while one of them says so. `parley` stands for all of them together with
auth. The empty name stays what the protocol means by it, this process alone: it
is what the edge and Kubernetes ask to decide whether to use this replica, and a
loading model must not keep people from logging in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.rpc.channel import open_channel
from services.rpc.tls import TlsFiles

OWN = ""
PLATFORM = "parley"
CHECK_SECONDS = 1.0

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

log = structlog.get_logger("parley.auth")


@dataclass(frozen=True)
class Replica:
    """A process to ask.

    Attributes:
        peer: The name that its certificate must carry.
        address: `host:port`.
    """

    peer: str
    address: str


def parse_replica(text: str) -> Replica:
    """Read `peer@host:port`.

    Raises:
        ValueError: It has another form.
    """
    peer, at, address = text.partition("@")
    host, _, port = address.rpartition(":")
    if not (peer and at and host and port.isdecimal()):
        raise ValueError(f"{text!r} is not of the form peer@host:port")
    return Replica(peer, address)


class PlatformHealth(health.aio.HealthServicer):  # type: ignore[misc]  # it publishes no types
    """The health record of auth's own server, with that of the observed services beside it."""

    def __init__(self, observed: Mapping[str, Sequence[Replica]]) -> None:
        """Begin with nobody known to serve."""
        super().__init__()
        self._own = NOT_SERVING
        self._answers = {
            (service, replica): False for service, replicas in observed.items() for replica in replicas
        }

    async def begin(self) -> None:
        """Tell what is known so far, so that no observed service is unknown."""
        for service, replica in self._answers:
            await self.note(service, replica, serving=False)

    async def set(self, service: str, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        """Record a status, and what it means for the whole."""
        await super().set(service, status)
        if service == OWN:
            self._own = status
            await self._tell_platform()

    async def note(self, service: str, replica: Replica, *, serving: bool) -> None:
        """Record what a replica answered about a service."""
        self._answers[service, replica] = serving
        await super().set(service, SERVING if self._serves(service) else NOT_SERVING)
        await self._tell_platform()

    def _serves(self, service: str) -> bool:
        return any(serving for (name, _), serving in self._answers.items() if name == service)

    async def _tell_platform(self) -> None:
        whole = self._own == SERVING and all(self._serves(service) for service, _ in self._answers)
        await super().set(PLATFORM, SERVING if whole else NOT_SERVING)


class Observer:
    """Asks the observed services for their health until it is cancelled."""

    def __init__(
        self,
        observed: Mapping[str, Sequence[Replica]],
        record: PlatformHealth,
        tls: TlsFiles,
        trust_domain: str,
        *,
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        """Ask these, under this identity, and write down what they answer."""
        self._observed = observed
        self._record = record
        self._tls = tls
        self._trust_domain = trust_domain
        self._check_seconds = check_seconds

    async def run(self) -> None:
        """Ask for ever."""
        replicas = {replica for replicas in self._observed.values() for replica in replicas}
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            for replica in replicas:
                channel = open_channel(
                    replica.address, tls=self._tls, service=replica.peer, trust_domain=self._trust_domain
                )
                stack.push_async_callback(channel.close)
                group.create_task(self._watch(replica, health_pb2_grpc.HealthStub(channel)))

    async def _watch(self, replica: Replica, stub: health_pb2_grpc.HealthStub) -> None:
        services = [service for service, replicas in self._observed.items() if replica in replicas]
        serving: dict[str, bool] = {}
        while True:
            for service in services:
                now = await self._asks(stub, service)
                if now != serving.get(service):
                    log.info("observed", target=service, address=replica.address, serving=now)
                serving[service] = now
                await self._record.note(service, replica, serving=now)
            await asyncio.sleep(self._check_seconds)

    async def _asks(self, stub: health_pb2_grpc.HealthStub, service: str) -> bool:
        try:
            answer = await stub.Check(
                health_pb2.HealthCheckRequest(service=service), timeout=self._check_seconds
            )
        except grpc.RpcError:
            return False
        return bool(answer.status == SERVING)
