"""Audit events on their way from the calls that make them to the chain that keeps them.

Calls only put events into a bounded queue; one task delivers them in batches.
Nothing that a call does waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Literal, Protocol

import grpc
import structlog
from prometheus_client import Counter, Gauge
from ulid import ULID

from parley.auth.v1 import audit_pb2, audit_service_pb2
from parley.auth.v1.audit_service_pb2_grpc import AuditServiceStub
from services.rpc.errors import AuditFull, ServiceError
from services.rpc.settings import ServiceSettings

BATCH = 500
GATHER_SECONDS = 0.25
"""A batch fills for so long: one event costs a transaction as hundreds do."""

DELIVERY_SECONDS = 10.0
FINISH_SECONDS = 3.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0

# Sending it again would change nothing.
UNACCEPTABLE = grpc.StatusCode.INVALID_ARGUMENT

LOST = Counter("parley_audit_lost_total", "Audit events that nobody could write in time.")
WAITING = Gauge("parley_audit_waiting", "Audit events that wait to be written.")

WhenFull = Literal["count", "refuse"]
Deliver = Callable[[Sequence[audit_pb2.AuditEvent]], Awaitable[None]]

log = structlog.get_logger("parley.audit")


class AuditSink(Protocol):
    """Takes events at once, whatever happens to them afterwards."""

    def admit(self) -> None:
        """Ask whether a new call may begin.

        Raises:
            AuditFull: What it does could not be written down.
        """
        ...

    def record(self, event: audit_pb2.AuditEvent) -> None:
        """Take an event. Never waits, never raises."""
        ...


class AuditQueue:
    """A sink that keeps events until they are delivered, in order and in batches.

    When more than `capacity` wait, new calls are refused or further events are
    counted and dropped. In the first case nothing is lost: beyond the capacity
    there can only be the ends of calls that run already.
    """

    def __init__(self, deliver: Deliver, *, capacity: int, when_full: WhenFull = "count") -> None:
        """Make an empty queue; `run` empties it.

        Args:
            deliver: Writes a batch for good. A `ServiceError` or `grpc.RpcError`
                means that it may be tried again.
            capacity: Events that may wait.
            when_full: What to do with more.
        """
        self._deliver = deliver
        self._capacity = capacity
        self._refuses = when_full == "refuse"
        self._waiting: deque[audit_pb2.AuditEvent] = deque()
        self._lost = 0
        self._closed = False
        self._filled = asyncio.Event()
        self._hurried = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many events wait."""
        return len(self._waiting)

    def admit(self) -> None:
        """See `AuditSink.admit`."""
        if self._refuses and len(self._waiting) >= self._capacity:
            self._count_lost(1)
            raise AuditFull

    def record(self, event: audit_pb2.AuditEvent) -> None:
        """See `AuditSink.record`."""
        if not self._refuses and len(self._waiting) >= self._capacity:
            self._count_lost(1)
            return
        self._waiting.append(event)
        WAITING.set(len(self._waiting))
        self._filled.set()
        if len(self._waiting) >= BATCH:
            self._hurried.set()

    async def run(self) -> None:
        """Deliver what comes, until it is closed and all is delivered."""
        while not self._closed or self._waiting or self._lost:
            await self._filled.wait()
            await self._gather()
            await self._send()
            if not self._waiting and not self._lost:
                self._filled.clear()

    def close(self) -> None:
        """Make `run` end when nothing waits any more."""
        self._closed = True
        self._filled.set()
        self._hurried.set()

    async def _gather(self) -> None:
        """Let a batch fill, unless there is one or the end has come."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GATHER_SECONDS):
                await self._hurried.wait()
        if not self._closed and len(self._waiting) < BATCH:
            self._hurried.clear()

    async def _send(self) -> None:
        """Deliver one batch, where anything waits."""
        lost = self._lost
        batch = [*self._loss(lost), *(self._waiting[place] for place in range(self._next()))]
        if not batch:
            return
        await self._deliver_until_done(batch)
        for _ in range(len(batch) - bool(lost)):
            self._waiting.popleft()
        self._lost -= lost
        WAITING.set(len(self._waiting))

    def _next(self) -> int:
        """How many events the next batch takes, with room for the one that tells of losses."""
        return min(len(self._waiting), BATCH - 1)

    def _loss(self, count: int) -> list[audit_pb2.AuditEvent]:
        """The event that tells how many were lost since the last one, if any were."""
        if not count:
            return []
        event = audit_pb2.AuditEvent(
            stage=audit_pb2.AUDIT_STAGE_LOST,
            decision=audit_pb2.AUDIT_DECISION_REFUSED if self._refuses else audit_pb2.AUDIT_DECISION_ALLOWED,
            reason=AuditFull.reason_name(),
            lost=count,
        )
        return [stamped(event)]

    def _count_lost(self, count: int) -> None:
        if not self._lost:
            log.error("the audit's queue is full", capacity=self._capacity, refusing=self._refuses)
        self._lost += count
        LOST.inc(count)
        self._filled.set()

    async def _deliver_until_done(self, batch: Sequence[audit_pb2.AuditEvent]) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async with asyncio.timeout(DELIVERY_SECONDS):
                    await self._deliver(batch)
            except (ServiceError, grpc.RpcError, TimeoutError) as error:
                if isinstance(error, grpc.aio.AioRpcError) and error.code() == UNACCEPTABLE:
                    log.warning("audit events were not taken", events=len(batch))
                    self._count_lost(sum(event.stage != audit_pb2.AUDIT_STAGE_LOST for event in batch))
                    return
                log.warning("audit events wait", events=len(batch), error=_brief(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                return


def stamped(event: audit_pb2.AuditEvent) -> audit_pb2.AuditEvent:
    """The event with an id and the time now."""
    event.event_id = str(ULID())
    event.time.FromDatetime(datetime.now(UTC))
    return event


def remote_audit(channel: grpc.aio.Channel) -> Deliver:
    """Delivers to the auth service."""
    stub = AuditServiceStub(channel)

    async def deliver(events: Sequence[audit_pb2.AuditEvent]) -> None:
        request = audit_service_pb2.RecordEventsRequest(events=events)
        await stub.RecordEvents(request, timeout=DELIVERY_SECONDS)

    return deliver


@asynccontextmanager
async def delivering(queue: AuditQueue, seconds: float) -> AsyncIterator[asyncio.Task[None]]:
    """Run the queue; at the end give it this long to deliver the rest.

    Yields:
        The task, for those who must know when it dies.
    """
    task = asyncio.create_task(queue.run(), name="audit")
    try:
        yield task
    finally:
        # Not cancelled at once: a delivery that is cut off in the middle helps nobody.
        queue.close()
        _, late = await asyncio.wait({task}, timeout=seconds)
        if late:
            log.warning("audit events were not written", events=queue.waiting)
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def told_to_auth(channel: grpc.aio.Channel, settings: ServiceSettings) -> AsyncIterator[AuditQueue]:
    """A service's sink: what it takes is delivered to the auth service."""
    queue = AuditQueue(
        remote_audit(channel), capacity=settings.audit_queue, when_full=settings.audit_when_full
    )
    async with delivering(queue, FINISH_SECONDS):
        yield queue


def _brief(error: Exception) -> str:
    """What went wrong, without what others wrote."""
    code = error.code().name if isinstance(error, grpc.aio.AioRpcError) else ""
    return code or type(error).__name__
