"""The health of the whole platform, as auth answers it at the edge.

Each observed service is asked every second at each of its addresses, of which a
file may say which there are; it is SERVING while one of them says so. `parley`
stands for all of them together with auth. The empty name stays what the protocol
means by it, this process alone: it is what the edge and Kubernetes ask to decide
whether to use this replica, and a loading model must not keep people from
logging in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.rpc.addresses import FILE, Addresses
from services.rpc.channel import open_channel
from services.rpc.tasks import end_task
from services.rpc.tls import TlsFiles

OWN = ""
PLATFORM = "parley"
CHECK_SECONDS = 1.0

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

log = structlog.get_logger("parley.auth")


@dataclass(frozen=True)
class Replica:
    """A process to ask, or a file that says which there are.

    Attributes:
        peer: The name that its certificate must carry.
        address: `host:port`, or `file:PATH`.
    """

    peer: str
    address: str

    def all(self) -> tuple[Replica, ...]:
        """The processes that this stands for now.

        Raises:
            OSError: The file does not say.
        """
        return tuple(Replica(self.peer, address) for address in Addresses(self.address).all())


def parse_replica(text: str) -> Replica:
    """Read `peer@host:port` or `peer@file:PATH`.

    Raises:
        ValueError: It has another form.
    """
    peer, at, address = text.partition("@")
    host, _, port = address.rpartition(":")
    is_whole = address != FILE if address.startswith(FILE) else host and port.isdecimal()
    if not (peer and at and is_whole):
        raise ValueError(f"{text!r} is not of the form peer@host:port")
    return Replica(peer, address)


class PlatformHealth(health.aio.HealthServicer):  # type: ignore[misc]  # it publishes no types
    """The health record of auth's own server, with that of the observed services beside it."""

    def __init__(self, observed: Mapping[str, Sequence[Replica]]) -> None:
        """Begin with nobody known to serve."""
        super().__init__()
        self._own = NOT_SERVING
        self._answers: dict[str, dict[Replica, bool]] = {
            service: {} for service, replicas in observed.items() if replicas
        }

    async def begin(self) -> None:
        """Tell what is known so far, so that no observed service is unknown."""
        for service in self._answers:
            await self._tell(service)

    async def set(self, service: str, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        """Record a status, and what it means for the whole."""
        await super().set(service, status)
        if service == OWN:
            self._own = status
            await self._tell_platform()

    async def note(self, service: str, replica: Replica, *, serving: bool) -> None:
        """Record what a replica answered about a service."""
        self._answers[service][replica] = serving
        await self._tell(service)

    async def forget(self, service: str, replica: Replica) -> None:
        """A replica stands for a service no longer."""
        self._answers[service].pop(replica, None)
        await self._tell(service)

    async def _tell(self, service: str) -> None:
        await super().set(service, SERVING if self._serves(service) else NOT_SERVING)
        await self._tell_platform()

    def _serves(self, service: str) -> bool:
        return any(self._answers[service].values())

    async def _tell_platform(self) -> None:
        whole = self._own == SERVING and all(map(self._serves, self._answers))
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
        asking: dict[tuple[str, Replica], asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                members = self._members(asking.keys())
                for gone in asking.keys() - members:
                    await end_task(asking.pop(gone))
                    await self._record.forget(*gone)
                for fresh in members - asking.keys():
                    asking[fresh] = group.create_task(self._ask_on(*fresh))
                await asyncio.sleep(self._check_seconds)

    def _members(self, known: Set[tuple[str, Replica]]) -> set[tuple[str, Replica]]:
        """Each service with each replica that stands for it now; those known, where a file does not say."""
        try:
            return {
                (service, replica)
                for service, replicas in self._observed.items()
                for told in replicas
                for replica in told.all()
            }
        except OSError as error:
            log.warning("replicas unknown", error=str(error))
            return set(known)

    async def _ask_on(self, service: str, replica: Replica) -> None:
        before: bool | None = None
        async with open_channel(
            replica.address, tls=self._tls, service=replica.peer, trust_domain=self._trust_domain
        ) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while True:
                now = await self._asks(stub, service)
                if now != before:
                    log.info("observed", target=service, address=replica.address, serving=now)
                before = now
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
