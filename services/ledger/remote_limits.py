"""What callers are held to, as auth says; asked ahead of need, and remembered for a while when it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

import grpc
import structlog
from cachetools import TTLCache

from parley.auth.v1 import quota_service_pb2
from services.ledger.limits import Payer, Terms
from services.ledger.quotas import terms_for
from services.rpc.call import current_principal, onward_metadata
from services.rpc.quota_errors import QuotaUnavailable

if TYPE_CHECKING:
    # The stub as grpc.aio makes it; it exists for type checkers alone.
    from parley.auth.v1.quota_service_pb2_grpc import QuotaServiceAsyncStub

FRESH_SECONDS = 5.0
RENEWAL_SHARE = 0.4
"""Of an answer's time: after it the next one is fetched beside whoever asks, so that nobody waits."""

STALE_SECONDS = 300.0
ASK_SECONDS = 2.0
MOST_PAYERS = 10_000

Asked = tuple[Payer, tuple[str, ...]]


class _Answer(NamedTuple):
    """What auth told, and from when on it is to be asked again."""

    terms: Terms
    due: float


class LimitSource(Protocol):
    """Knows what callers are held to."""

    async def terms(self, payer: Payer) -> Terms:
        """The terms of a request of the current caller.

        Raises:
            QuotaUnavailable: They cannot be found out.
        """
        ...


class RemoteLimits:
    """Auth's quotas, kept for a moment, and while auth is away for `STALE_SECONDS`."""

    def __init__(
        self,
        stub: QuotaServiceAsyncStub,
        *,
        fresh_seconds: float = FRESH_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask this service, and again after `fresh_seconds` at the latest."""
        self._stub = stub
        self._clock = clock
        self._renewal_seconds = RENEWAL_SHARE * fresh_seconds
        self._fresh: TTLCache[Asked, _Answer] = TTLCache(MOST_PAYERS, fresh_seconds, clock)
        self._stale: TTLCache[Asked, Terms] = TTLCache(MOST_PAYERS, STALE_SECONDS, clock)
        self._asking: dict[Asked, asyncio.Task[Terms]] = {}
        self._log = structlog.get_logger("parley.ledger")

    async def terms(self, payer: Payer) -> Terms:
        """See `LimitSource.terms`. Those who ask the same at once share one call."""
        asked = (payer, current_principal().roles)
        known = self._fresh.get(asked)
        if known is None:
            return await asyncio.shield(self._asked(asked))
        if self._clock() >= known.due:
            self._asked(asked)
        return known.terms

    def _asked(self, asked: Asked) -> asyncio.Task[Terms]:
        """The question that is on its way to auth, or else a new one."""
        task = self._asking.get(asked)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._ask(asked))
            self._asking[asked] = task
            task.add_done_callback(lambda done: self._answered(asked, done))
        return task

    def _answered(self, asked: Asked, task: asyncio.Task[Terms]) -> None:
        self._asking.pop(asked, None)
        if not task.cancelled():
            # Where nobody waits, nobody needs to hear that it failed: the next who asks does.
            task.exception()

    async def _ask(self, asked: Asked) -> Terms:
        payer, _ = asked
        request = quota_service_pb2.GetEffectiveLimitsRequest(model=payer.model)
        try:
            answer = await self._stub.GetEffectiveLimits(
                request, metadata=onward_metadata(), timeout=ASK_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            self._log.warning("quotas cannot be asked for", code=error.code().name)
            remembered = self._stale.get(asked)
            if remembered is None:
                raise QuotaUnavailable from error
            return remembered
        terms = terms_for(payer, answer.quotas)
        self._fresh[asked] = _Answer(terms, self._clock() + self._renewal_seconds)
        self._stale[asked] = terms
        return terms
