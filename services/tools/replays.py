"""Results that a repeated call gets again instead of running again."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from services.rpc.errors import DeadlineExceeded, ServiceError
from services.tools.call_errors import IdempotencyKeyReused, OutcomeUnknown
from services.tools.events import Emit, Happening, Result, Started

Caller = tuple[str, str, str]
"""Tenant, user and API key: nobody gets another's results."""

_ENTRY_BYTES = 512
"""What an entry takes beside its result, roughly."""


@dataclass(frozen=True)
class Asked:
    """What a call with an idempotency key asks for.

    Attributes:
        caller: Who asks.
        key: The idempotency key.
        tool: The tool's name.
        arguments: JSON text.
        repeatable: Running it twice is the same as running it once.
        conversation_id: Whose workspace it works in; empty: the user's own.
    """

    caller: Caller
    key: str
    tool: str
    arguments: str
    repeatable: bool
    conversation_id: str = ""

    @property
    def place(self) -> tuple[Caller, str]:
        """Where its result is kept."""
        return self.caller, self.key

    @property
    def digest(self) -> bytes:
        """Equal for the same tool with the same arguments at the same place."""
        return hashlib.sha256(f"{self.tool}\0{self.conversation_id}\0{self.arguments}".encode()).digest()


@dataclass(frozen=True)
class _Kept:
    digest: bytes
    outcome: Result | ServiceError
    size: int
    ends: float


@dataclass
class _First:
    """The call that runs while others with its key wait."""

    digest: bytes
    over: asyncio.Event = field(default_factory=asyncio.Event)
    begun: bool = False


class Replays:
    """Keeps results for a while, within bounds, and lets one call of a key run at a time.

    A result is kept always. A failure is kept where the tool had begun and
    cannot be repeated safely; otherwise the repeated call runs again.
    """

    def __init__(
        self,
        *,
        seconds: float = 600,
        total_bytes: int = 64 * 2**20,
        bytes_per_caller: int = 4 * 2**20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep nothing yet.

        Args:
            seconds: Time that a result is kept.
            total_bytes: Bytes of all results; the oldest give way.
            bytes_per_caller: Bytes of one caller's; the caller's oldest give way.
            clock: Tells the time in seconds.
        """
        self._seconds = seconds
        self._total_bytes = total_bytes
        self._bytes_per_caller = bytes_per_caller
        self._clock = clock
        self._kept: OrderedDict[tuple[Caller, str], _Kept] = OrderedDict()
        self._keys: defaultdict[Caller, OrderedDict[str, None]] = defaultdict(OrderedDict)
        self._bytes: defaultdict[Caller, int] = defaultdict(int)
        self._running: dict[tuple[Caller, str], _First] = {}
        self.size_bytes = 0

    async def once(self, asked: Asked, emit: Emit, run: Callable[[Emit], Awaitable[Result]]) -> Result:
        """The result of the first call with this key: this one, or one before it.

        Raises:
            IdempotencyKeyReused: The key belongs to another call.
            OutcomeUnknown: The first call was cut off after it had begun.
            ServiceError: The first call ended badly.
        """
        while (first := self._running.get(asked.place)) is not None:
            _check(asked, first.digest)
            await first.over.wait()
        self._expire()
        if (kept := self._kept.get(asked.place)) is None:
            return await self._run(asked, emit, run)
        _check(asked, kept.digest)
        if isinstance(kept.outcome, ServiceError):
            raise kept.outcome
        return replace(kept.outcome, replayed=True)

    async def _run(self, asked: Asked, emit: Emit, run: Callable[[Emit], Awaitable[Result]]) -> Result:
        first = self._running[asked.place] = _First(asked.digest)

        async def watch(what: Happening) -> None:
            first.begun = first.begun or isinstance(what, Started)
            await emit(what)

        try:
            result = await run(watch)
        except BaseException as error:
            if first.begun and not asked.repeatable:
                self._keep(asked, _told_again(asked, error))
            raise
        else:
            self._keep(asked, result)
            return result
        finally:
            del self._running[asked.place]
            first.over.set()

    def _keep(self, asked: Asked, outcome: Result | ServiceError) -> None:
        content = outcome.content.encode() if isinstance(outcome, Result) else b""
        size = _ENTRY_BYTES + len(asked.key) + len(content)
        if size > self._bytes_per_caller:
            if asked.repeatable:
                return
            outcome, size = OutcomeUnknown(asked.key), _ENTRY_BYTES + len(asked.key)
        self._expire()
        while self._keys[asked.caller] and self._bytes[asked.caller] + size > self._bytes_per_caller:
            self._forget((asked.caller, next(iter(self._keys[asked.caller]))))
        self._kept[asked.place] = _Kept(asked.digest, outcome, size, self._clock() + self._seconds)
        self._keys[asked.caller][asked.key] = None
        self._bytes[asked.caller] += size
        self.size_bytes += size
        while self.size_bytes > self._total_bytes:
            self._forget(next(iter(self._kept)))

    def _expire(self) -> None:
        """Forget what is old; the oldest come first, because all are kept for the same time."""
        while self._kept and next(iter(self._kept.values())).ends <= self._clock():
            self._forget(next(iter(self._kept)))

    def _forget(self, place: tuple[Caller, str]) -> None:
        caller, key = place
        size = self._kept.pop(place).size
        self._bytes[caller] -= size
        self.size_bytes -= size
        del self._keys[caller][key]
        if not self._keys[caller]:
            del self._keys[caller], self._bytes[caller]


def _check(asked: Asked, digest: bytes) -> None:
    if digest != asked.digest:
        raise IdempotencyKeyReused(asked.key)


def _told_again(asked: Asked, error: BaseException) -> ServiceError:
    """What a repeated call is told of a failure: itself, or that nobody knows."""
    cut_off = not isinstance(error, ServiceError) or isinstance(error, DeadlineExceeded)
    return OutcomeUnknown(asked.key) if cut_off else error  # type: ignore[return-value]
