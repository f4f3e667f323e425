"""Follows auth's feed of revocations, through any trouble of auth or the way to it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC
from typing import Any, Protocol

import grpc
import structlog
from prometheus_client import Gauge

from parley.auth.v1 import revocation_service_pb2 as pb2
from parley.auth.v1.revocation_service_pb2_grpc import RevocationServiceStub
from services.rpc.revocations import Revocation, Revocations, Subject

# The name under which a service's health tells whether its feed is alive.
HEALTH_NAME = pb2.DESCRIPTOR.services_by_name["RevocationService"].full_name
# Auth sends something every second; three of them lost in a row are no chance.
SILENCE_SECONDS = 3.0
RECONNECT_SECONDS = (0.1, 1.0)

STALE_SECONDS = Gauge(
    "parley_revocations_stale_seconds", "Time since the feed of revocations was last heard, in seconds."
)
KNOWN = Gauge("parley_revocations_known", "Revocations that still matter, as far as this process knows.")

log = structlog.get_logger("parley.rpc")


class Report(Protocol):
    """Tells health checks of a dependency; see `RpcServer.report`."""

    def __call__(self, dependency: str, *, answers: bool) -> Awaitable[None]:
        """Tell whether it answers."""
        ...


class RevocationFeed:
    """Keeps a process's revocations up to date.

    While it is down, tokens in hand go on (docs/decisions/0076): each of them
    is over by itself within minutes.
    """

    def __init__(
        self,
        auth: grpc.aio.Channel,
        revocations: Revocations,
        report: Report,
        *,
        silence_seconds: float = SILENCE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Follow the feed of this service.

        Args:
            auth: Leads to the auth service.
            revocations: What is kept up to date.
            report: Told whether the feed is alive, when that changes.
            silence_seconds: A feed that says nothing for so long is lost.
            monotonic: Gives the seconds that silence is counted in.
        """
        self._stub: Any = RevocationServiceStub(auth)
        self._revocations = revocations
        self._report = report
        self._silence_seconds = silence_seconds
        self._monotonic = monotonic
        self._heard = monotonic()
        self._alive = False

    @property
    def stale_seconds(self) -> float:
        """Time since auth last said something."""
        return self._monotonic() - self._heard

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow the feed until the block's end."""
        STALE_SECONDS.set_function(lambda: self.stale_seconds)
        KNOWN.set_function(lambda: len(self._revocations))
        await self._report(HEALTH_NAME, answers=False)
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        pause, longest = RECONNECT_SECONDS
        while True:
            trouble = await self._follow()
            if self._alive:
                pause = RECONNECT_SECONDS[0]
                log.warning("feed of revocations lost", trouble=trouble, retry_seconds=pause)
            await self._live(alive=False)
            # Replicas that lost one auth together need not come to the next together.
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - nobody gains by guessing it
            pause = min(pause * 2, longest)

    async def _follow(self) -> str:
        """Read the feed until it ends; what ended it."""
        call = self._stub.WatchRevocations(pb2.WatchRevocationsRequest())
        try:
            while True:
                async with asyncio.timeout(self._silence_seconds):
                    response = await call.read()
                if not isinstance(response, pb2.WatchRevocationsResponse):
                    return "auth ended it"
                await self._take(response)
        except TimeoutError:
            return "auth is silent"
        except grpc.aio.AioRpcError as error:
            return error.code().name
        finally:
            call.cancel()

    async def _take(self, response: pb2.WatchRevocationsResponse) -> None:
        self._heard = self._monotonic()
        match response.WhichOneof("event"):
            case "revocation":
                self._revocations.add(_read(response.revocation))
            case "synchronized":
                self._revocations.synchronize()
                await self._live(alive=True)

    async def _live(self, *, alive: bool) -> None:
        if alive is not self._alive:
            self._alive = alive
            await self._report(HEALTH_NAME, answers=alive)


def _read(message: pb2.Revocation) -> Revocation:
    return Revocation(
        Subject(message.kind, message.subject_id),
        message.revoke_time.ToDatetime(UTC),
        message.expire_time.ToDatetime(UTC),
    )
