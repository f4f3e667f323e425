"""The calls of one stream: as many at once as may be, their events in the order they happen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from services.rpc.errors import Cancelled, Internal, Overloaded, ServiceError
from services.rpc.principal import Principal
from services.tools.call_errors import PredecessorFailed, PredecessorUnknown
from services.tools.errors import CallIdTaken
from services.tools.events import CallEvent, Happening, Result
from services.tools.runner import Invocation, Runner

_QUEUED_EVENTS = 16
_CANCELLED = "The call was cancelled."

_log = structlog.get_logger("parley.tools")


@dataclass(frozen=True)
class Cancellation:
    """Asks to end a call, or all.

    Attributes:
        call_id: The call; None means every one that waits or runs.
    """

    call_id: str | None


Request = Invocation | Cancellation


HearEnd = Callable[[Invocation, ServiceError | None], None]
"""Takes a call and what it ended with; None where it went well."""


@dataclass(frozen=True)
class Caller:
    """For whom a stream's calls run.

    Attributes:
        principal: The caller.
        request_id: Names the stream in logs.
        deadline: When the caller stops waiting, on the event loop's clock.
    """

    principal: Principal
    request_id: str
    deadline: float | None


@dataclass(frozen=True)
class StreamLimits:
    """How much one stream may ask for.

    Attributes:
        running: Calls that run at once; more wait.
        open: Calls that run or wait at once; more are refused.
        total: Calls over the stream's life; more are refused.
    """

    running: int
    open: int
    total: int


@dataclass
class _Call:
    """A call of the stream, and how many of its events were read."""

    invocation: Invocation
    sequence: int = 0
    cancelled: bool = False
    begun: bool = False
    over: bool = False


@dataclass
class _Fate:
    """How a call of the stream went, for those that come after it."""

    over: asyncio.Event = field(default_factory=asyncio.Event)
    well: bool = False


class CallStream:
    """Runs the calls of one stream."""

    def __init__(
        self, runner: Runner, caller: Caller, limits: StreamLimits, hear_end: HearEnd | None = None
    ) -> None:
        """Run calls for this caller within these limits.

        Args:
            runner: Runs them.
            caller: For whom.
            limits: How many.
            hear_end: Told of each call how it ended, those included that were cut off.
        """
        self._runner = runner
        self._hear_end = hear_end or _ignore
        self._caller = caller
        self._limits = limits
        self._turns = asyncio.Semaphore(limits.running)
        self._happened: asyncio.Queue[tuple[_Call, Happening] | None] = asyncio.Queue(_QUEUED_EVENTS)
        self._open: dict[str, tuple[_Call, asyncio.Task[None]]] = {}
        self._fates: dict[str, _Fate] = {}
        self._closing = False

    async def events(self, requests: AsyncIterator[Request]) -> AsyncGenerator[CallEvent, None]:
        """What happens to the calls that are asked for, until all are over.

        The end of `requests` lets the running calls end. Closing this ends them
        all, and returns when they are gone.

        Raises:
            ServiceError: Reading the requests failed.
        """
        pump = asyncio.create_task(self._pump(requests))
        try:
            while (item := await self._happened.get()) is not None:
                call, what = item
                call.sequence += 1
                yield CallEvent(call.invocation.call_id, call.sequence, what)
            await pump
        finally:
            self._closing = True
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)

    async def _pump(self, requests: AsyncIterator[Request]) -> None:
        """Start a task per call; ends when the requests and the calls have ended."""
        try:
            async with asyncio.TaskGroup() as calls:
                async for request in requests:
                    if isinstance(request, Cancellation):
                        self._cancel(request.call_id)
                    else:
                        await self._accept(_Call(request), calls)
        except ExceptionGroup as failures:
            await self._happened.put(None)
            raise failures.exceptions[0] from None
        await self._happened.put(None)

    async def _accept(self, call: _Call, calls: asyncio.TaskGroup) -> None:
        call_id = call.invocation.call_id
        try:
            self._admit(call.invocation)
        except ServiceError as error:
            self._hear_end(call.invocation, error)
            await self._happened.put((call, error))
            return
        self._fates[call_id] = _Fate()
        self._open[call_id] = (call, calls.create_task(self._run(call)))

    def _admit(self, invocation: Invocation) -> None:
        """Refuse a call that the stream has no place for.

        What a call comes after was asked for before it, so there are no rings.

        Raises:
            CallIdTaken: The stream had a call of this id.
            PredecessorUnknown: It comes after a call that the stream was not asked for.
            Overloaded: The stream has too many calls.
        """
        if invocation.call_id in self._fates:
            raise CallIdTaken(invocation.call_id)
        for call_id in invocation.after:
            if call_id not in self._fates:
                raise PredecessorUnknown(call_id)
        if len(self._fates) >= self._limits.total:
            raise Overloaded(f"The stream has had its {self._limits.total} calls; open another.")
        if len(self._open) >= self._limits.open:
            raise Overloaded(
                f"{self._limits.open} calls of the stream run or wait; wait for some to end.",
                retry_after=timedelta(seconds=1),
            )

    def _cancel(self, call_id: str | None) -> None:
        """End a call, or all; one that is unknown or over is left as it is."""
        if call_id is None:
            for each in list(self._open):
                self._cancel(each)
            return
        call, task = self._open.get(call_id, (None, None))
        if call and task and not call.over:
            call.cancelled = True
            if call.begun:  # A task that is cancelled before its first step never says so.
                task.cancel()

    async def _run(self, call: _Call) -> None:
        call.begun = True
        fate = self._fates[call.invocation.call_id]
        last: Happening = Cancelled(_CANCELLED)
        try:
            if not call.cancelled:
                last = await self._outcome(call)
            call.over = True
            await self._happened.put((call, last))
            fate.well = isinstance(last, Result)
        finally:
            self._hear_end(call.invocation, last if isinstance(last, ServiceError) else None)
            fate.over.set()
            del self._open[call.invocation.call_id]

    async def _wait_for_others(self, invocation: Invocation) -> None:
        """Wait until the calls before this one have gone well.

        Raises:
            PredecessorFailed: One did not.
        """
        for call_id in invocation.after:
            fate = self._fates[call_id]
            await fate.over.wait()
            if not fate.well:
                raise PredecessorFailed(call_id)

    async def _outcome(self, call: _Call) -> Happening:
        """Run the call; its last event."""

        async def emit(what: Happening) -> None:
            await self._happened.put((call, what))

        caller = self._caller
        try:
            await self._wait_for_others(call.invocation)
            async with self._turns:
                return await self._runner.run(call.invocation, caller.principal, caller.deadline, emit)
        except asyncio.CancelledError:
            if self._closing or not call.cancelled:
                raise
            return Cancelled(_CANCELLED)
        except ServiceError as error:
            return error
        except Exception:
            _log.exception("internal error", request_id=caller.request_id, tool=call.invocation.tool)
            return Internal(caller.request_id)


def _ignore(_invocation: Invocation, _error: ServiceError | None) -> None:
    """Nobody asks."""
