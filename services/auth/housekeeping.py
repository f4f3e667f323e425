"""What goes on beside the calls: writing uses, rotating keys, forgetting what is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from services.auth.clock import Clock
from services.auth.last_use import LastUse
from services.auth.signing_keys import SigningKeys
from services.auth.store.attempts import AttemptRecords
from services.auth.store.revocations import RevocationRecords
from services.auth.store.served import ServedRecords
from services.auth.store.sessions import SessionRecords
from services.auth.store.usage import UsageRecords
from services.auth.throttle import FORGET_AFTER
from services.rpc.errors import ServiceError
from services.sql.database import Database

FLUSH_SECONDS = 5.0
TIDY_SECONDS = 600.0
# A client that repeats a request later than this makes a second key.
REQUEST_ID_LIFE = timedelta(days=1)
# A record of usage that comes again later than this counts twice; the store keeps none for so long.
USAGE_RECORD_LIFE = timedelta(days=90)
# Longer than any token may live by the settings.
REVOCATION_LIFE = timedelta(days=2)

log = structlog.get_logger("parley.auth")


class Housekeeping:
    """Runs the chores until it is cancelled."""

    def __init__(
        self,
        database: Database,
        last_use: LastUse,
        keys: SigningKeys,
        clock: Clock,
        key_life: timedelta,
    ) -> None:
        """Look after these; signing keys are replaced when they are `key_life` old."""
        self._database = database
        self._last_use = last_use
        self._keys = keys
        self._clock = clock
        self._key_life = key_life

    async def run(self) -> None:
        """Run them for ever; one that fails is tried again at its next time."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_every(FLUSH_SECONDS, self._last_use.flush))
            group.create_task(_every(TIDY_SECONDS, self.tidy))

    async def tidy(self) -> None:
        """Replace an old signing key; forget what is over: sessions, requests, attempts, revocations.

        Raises:
            DependencyUnavailable: The database does not answer.
            OSError: The folder of the signing keys cannot be written.
        """
        self._keys.keep_fresh(self._key_life)
        now = self._clock()
        async with self._database.writing() as session:
            await SessionRecords(session).prune(now)
            await ServedRecords(session).prune(now - REQUEST_ID_LIFE)
            await AttemptRecords(session).prune(now - FORGET_AFTER)
            await RevocationRecords(session).prune(now - REVOCATION_LIFE)
            await UsageRecords(session).prune(now - USAGE_RECORD_LIFE)


async def _every(seconds: float, chore: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await chore()
        except (ServiceError, SQLAlchemyError, OSError) as error:
            log.warning("chore failed", chore=chore.__qualname__, error=str(error))
        await asyncio.sleep(seconds)
