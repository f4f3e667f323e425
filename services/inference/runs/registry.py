"""Runs that are under way: their names, owners, limits, and how they are ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from ulid import ULID

from services.inference.calling.waiting_calls import Answer, Delivery, Outcome, WaitingCalls
from services.inference.metrics import RELEASE_SECONDS
from services.inference.runs.events import FinishReason
from services.inference.runs.token_trail import TokenTrail
from services.rpc.errors import ServiceError
from services.rpc.principal import Principal

T = TypeVar("T")


class RunEnded(Exception):
    """The run was ended from outside, or its time is over."""

    def __init__(self, reason: FinishReason, error: ServiceError | None = None) -> None:
        super().__init__(reason.name)
        self.reason = reason
        self.error = error


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose run it is: only the same user of the same tenant may end it."""

    tenant_id: str
    user_id: str

    @classmethod
    def of(cls, principal: Principal) -> Owner:
        """The owner that a caller is."""
        return cls(principal.tenant_id, principal.user_id)


@dataclass(frozen=True, slots=True)
class Limit:
    """When a run ends by itself: a time of the event loop's clock, in seconds, and why."""

    at: float
    reason: FinishReason


class Run:
    """One run. Its task does all its waiting through it, so that it can be ended at any time.

    Attributes:
        waiting_calls: Its calls that wait for somebody outside.
        attended: Told when it is read at another replica; None where it cannot be.
        trail: Where its tokens are noted for whoever may have to go on with it; None for nobody.
    """

    def __init__(self, run_id: str, owner: Owner, limit: Limit, last: int = 0) -> None:
        """Name a run whose last event has this number; `RunRegistry.open` does this."""
        self.run_id = run_id
        self.owner = owner
        self.limit = limit
        self.waiting_calls = WaitingCalls()
        self.attended: Callable[[], None] | None = None
        self.trail: TokenTrail | None = None
        self._sequence = last
        self._ended: FinishReason | None = None
        self._error: ServiceError | None = None
        self._end_time = 0.0
        self._waiting: asyncio.Timeout | None = None
        self._stream: AsyncGenerator[Any, None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def next_sequence(self) -> int:
        """The number of the run's next event, counted from 1."""
        self._sequence += 1
        return self._sequence

    def end(self, reason: FinishReason, error: ServiceError | None = None) -> None:
        """End the run: whatever it waits for is given up at once. The first reason stands.

        Args:
            reason: Why.
            error: With `FinishReason.ERROR`: what happened.
        """
        if self._ended is not None:
            return
        self._over(reason, asyncio.get_running_loop().time(), error)
        if self._waiting is None:
            # Its client is reading: free what it holds without waiting for that.
            self._close_stream()
        elif not self._waiting.expired():
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Wait for something, but no longer than the run lives.

        Raises:
            RunEnded: The run ended first.
        """
        try:
            async with asyncio.timeout_at(self.limit.at) as self._waiting:
                return await awaitable
        except TimeoutError:
            if self._waiting is None or not self._waiting.expired():
                raise
            raise self._over(self.limit.reason, self.limit.at) from None
        finally:
            self._waiting = None

    @asynccontextmanager
    async def reading(self, stream: AsyncGenerator[T, None]) -> AsyncIterator[AsyncIterator[T]]:
        """Read a stream that is closed when the block or the run ends.

        Reading it raises `RunEnded` once the run has ended. A run reads one
        stream at a time.
        """
        self._stream = stream
        try:
            yield self._read(stream)
        except (asyncio.CancelledError, GeneratorExit):
            # Whoever asked for it is gone.
            self._over(FinishReason.CANCELLED, asyncio.get_running_loop().time())
            raise
        finally:
            self._close_stream()
            if self._closing is not None:
                await asyncio.shield(self._closing)

    async def _read(self, stream: AsyncGenerator[T, None]) -> AsyncIterator[T]:
        while True:
            self.check()
            try:
                item = await self.wait(anext(stream))
            except StopAsyncIteration:
                return
            yield item

    def check(self) -> None:
        """Go on only while the run lives.

        Raises:
            RunEnded: It was ended.
        """
        if asyncio.get_running_loop().time() >= self.limit.at:
            self._over(self.limit.reason, self.limit.at)
        if self._ended is not None:
            raise RunEnded(self._ended, self._error)

    def _over(self, reason: FinishReason, at: float, error: ServiceError | None = None) -> RunEnded:
        """Note that the run ended, at a time of the loop's clock. The first reason stands, and is given."""
        if self._ended is None:
            self._ended, self._end_time, self._error = reason, at, error
        return RunEnded(self._ended, self._error)

    def _close_stream(self) -> None:
        """Close what the run reads, in a task that survives the run's own."""
        if self._stream is not None:
            self._closing = asyncio.get_running_loop().create_task(self._close(self._stream))
            self._stream = None

    async def _close(self, stream: AsyncGenerator[Any, None]) -> None:
        await stream.aclose()
        if self._ended is not None:
            waited = asyncio.get_running_loop().time() - self._end_time
            RELEASE_SECONDS.labels(self._ended.name).observe(waited)


class RunRegistry:
    """The runs of this process."""

    def __init__(self) -> None:
        """Begin with none."""
        self._runs: dict[str, Run] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        """How many runs are under way."""
        return len(self._runs)

    @contextmanager
    def open(self, owner: Owner, limit: Limit, run_id: str = "", last: int = 0) -> Iterator[Run]:
        """Begin a run, and forget it at the block's end.

        Args:
            owner: Whose it is.
            limit: When it ends by itself.
            run_id: Names a run that is taken over from another replica.
            last: The number of the last event that it had there.
        """
        run = Run(run_id or str(ULID()), owner, limit, last)
        self._runs[run.run_id] = run
        self._empty.clear()
        try:
            yield run
        finally:
            del self._runs[run.run_id]
            if not self._runs:
                self._empty.set()

    async def until_empty(self) -> None:
        """Return when no run is under way."""
        await self._empty.wait()

    async def wait_until_empty(self, seconds: float) -> bool:
        """Whether the last run ended within this time."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), seconds)
        return not self._runs

    def has(self, run_id: str, owner: Owner) -> bool:
        """Whether this process has this run of this owner."""
        return self._find(run_id, owner) is not None

    def end(self, run_id: str, owner: Owner, reason: FinishReason) -> bool:
        """End a run of this owner.

        Returns:
            False where this process has no such run, or another's.
        """
        run = self._find(run_id, owner)
        if run is not None:
            run.end(reason)
        return run is not None

    def attend(self, run_id: str, owner: Owner) -> bool:
        """Tell a run of this owner that it is read at another replica.

        Returns:
            False where this process has no such run, or another's, or one that cannot be.
        """
        run = self._find(run_id, owner)
        if run is None or run.attended is None:
            return False
        run.attended()
        return True

    def answer(
        self, run_id: str, owner: Owner, call_id: str, answer: Answer, granted: Collection[str]
    ) -> Delivery:
        """Answer a call that a run of this owner waits for.

        Args:
            run_id: The run.
            owner: Who answers.
            call_id: The call.
            answer: The answer.
            granted: What whoever answers may do.
        """
        run = self._find(run_id, owner)
        if run is None:
            return Delivery(Outcome.NO_RUN)
        return run.waiting_calls.answer(call_id, answer, granted)

    def _find(self, run_id: str, owner: Owner) -> Run | None:
        run = self._runs.get(run_id)
        return run if run is not None and run.owner == owner else None
