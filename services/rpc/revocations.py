"""Which tokens are good no longer though their time is not over, and whom to tell."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from parley.auth.v1.revocation_service_pb2 import (
    REVOCATION_KIND_KEY,
    REVOCATION_KIND_SESSION,
    REVOCATION_KIND_TENANT,
    REVOCATION_KIND_USER,
    RevocationKind,
)
from services.rpc.errors import DependencyUnavailable, TokenRevoked
from services.rpc.principal import Principal

CAPACITY = 100_000
# A process that has just started learns of the revocations within moments.
SYNCHRONIZE_SECONDS = 2.0

# An ended key or session never comes back, so every token of it is meant. A user or tenant may.
FOR_EVER = frozenset({REVOCATION_KIND_KEY, REVOCATION_KIND_SESSION})

log = structlog.get_logger("parley.rpc")


class Subject(NamedTuple):
    """What is revoked: a key, a session, a user or a tenant."""

    kind: RevocationKind.ValueType
    subject_id: str


@dataclass(frozen=True, slots=True)
class Revocation:
    """A subject's tokens that were issued until a time are good no longer.

    Attributes:
        subject: Whose.
        revoke_time: The time.
        expire_time: When the last of them is over by itself.
    """

    subject: Subject
    revoke_time: datetime
    expire_time: datetime

    def concerns(self, principal: Principal) -> bool:
        """Whether it ends this token of its subject."""
        return self.subject.kind in FOR_EVER or principal.issued_at <= self.revoke_time


@dataclass(eq=False, slots=True)
class _Watcher:
    """An open call, and how it is told."""

    principal: Principal
    tell: Callable[[], None]


class Revocations:
    """The revocations that still matter, as far as this process knows.

    What it holds is bounded. When there are more than it can hold, the oldest
    go, and with them every token that is as old: their callers get a new one.
    """

    def __init__(
        self,
        *,
        synchronized: bool = False,
        capacity: int = CAPACITY,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Begin with none.

        Args:
            synchronized: Whether that is all there is to know. If not, no token
                is taken before `synchronize` was called.
            capacity: Most that are held.
            clock: Tells which can be forgotten.
        """
        self._capacity = capacity
        self._clock = clock
        self._known: OrderedDict[Subject, Revocation] = OrderedDict()
        self._oldest_good = datetime.fromtimestamp(0, UTC)
        self._watchers: dict[Subject, set[_Watcher]] = {}
        self._synchronized = asyncio.Event()
        if synchronized:
            self._synchronized.set()

    def __len__(self) -> int:
        """How many are held."""
        return len(self._known)

    def synchronize(self) -> None:
        """Note that all that mattered until now has been added."""
        self._synchronized.set()

    async def check(self, principal: Principal) -> None:
        """Refuse a revoked token.

        Raises:
            TokenRevoked: It is one.
            DependencyUnavailable: It is not known yet whether it is.
        """
        if not self._synchronized.is_set():
            try:
                async with asyncio.timeout(SYNCHRONIZE_SECONDS):
                    await self._synchronized.wait()
            except TimeoutError:
                raise DependencyUnavailable("auth") from None
        if self.revoked(principal):
            raise TokenRevoked

    def revoked(self, principal: Principal) -> bool:
        """Whether the token was revoked."""
        if principal.issued_at <= self._oldest_good:
            return True
        found = (self._known.get(subject) for subject in subjects(principal))
        return any(revocation.concerns(principal) for revocation in found if revocation is not None)

    def add(self, revocation: Revocation) -> None:
        """Take a revocation in, and tell the open calls that it ends."""
        earlier = self._known.get(revocation.subject)
        if earlier is not None and earlier.revoke_time >= revocation.revoke_time:
            return
        self._known[revocation.subject] = revocation
        self._known.move_to_end(revocation.subject)
        self._forget()
        for watcher in list(self._watchers.get(revocation.subject, ())):
            if revocation.concerns(watcher.principal):
                watcher.tell()

    def _forget(self) -> None:
        """Drop what matters no longer, and what is too much."""
        now = self._clock()
        while self._known:
            oldest = next(iter(self._known.values()))
            over = oldest.expire_time <= now
            if not over and len(self._known) <= self._capacity:
                return
            del self._known[oldest.subject]
            if not over:
                log.warning("too many revocations: old tokens are refused", capacity=self._capacity)
                self._oldest_good = max(self._oldest_good, oldest.revoke_time)

    @contextmanager
    def watching(self, principal: Principal, tell: Callable[[], None]) -> Iterator[None]:
        """Call `tell` when the token is revoked before the block's end, also if it is already."""
        watcher, watched = _Watcher(principal, tell), list(subjects(principal))
        for subject in watched:
            self._watchers.setdefault(subject, set()).add(watcher)
        try:
            if self.revoked(principal):
                tell()
            yield
        finally:
            for subject in watched:
                self._leave(subject, watcher)

    def _leave(self, subject: Subject, watcher: _Watcher) -> None:
        watchers = self._watchers[subject]
        watchers.discard(watcher)
        if not watchers:
            del self._watchers[subject]


def subjects(principal: Principal) -> Iterator[Subject]:
    """All that a token can be revoked by."""
    if principal.key_id:
        yield Subject(REVOCATION_KIND_KEY, principal.key_id)
    if principal.session_id:
        yield Subject(REVOCATION_KIND_SESSION, principal.session_id)
    yield Subject(REVOCATION_KIND_USER, principal.user_id)
    yield Subject(REVOCATION_KIND_TENANT, principal.tenant_id)
