"""The audit's parts in the auth service, opened, running and closed together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from services.auth.audit.chain import AuditChain
from services.auth.audit.checkpoints import CheckpointFile, CheckpointSigner
from services.auth.audit.keeper import AuditKeeper
from services.auth.clock import Clock
from services.auth.settings import AuthSettings
from services.rpc.audit import AuditQueue, delivering
from services.rpc.tasks import end_task
from services.sql.database import Database

OWN = "auth"
EDGE = "edge"
KEY_FILE = "audit-signing-key"

log = structlog.get_logger("parley.audit")


@dataclass(frozen=True)
class AuditOffice:
    """What takes events and what shows them.

    Attributes:
        own: Takes what this service decides and does.
        edge: Takes what the edge refused.
        chain: Where both end up.
        checkpoints: What vouches for it.
        keeper: Looks after it.
    """

    own: AuditQueue
    edge: AuditQueue
    chain: AuditChain
    checkpoints: CheckpointFile
    keeper: AuditKeeper


def open_audit(settings: AuthSettings, database: Database, clock: Clock) -> AuditOffice:
    """Put the parts together.

    Raises:
        StartError: The signing key cannot be had.
    """
    chain = AuditChain(database)
    signer = CheckpointSigner(settings.data_path / KEY_FILE)
    checkpoints = CheckpointFile(settings.checkpoint_path, signer.public)
    own, edge = (
        AuditQueue(
            partial(chain.append, service), capacity=settings.audit_queue, when_full=settings.audit_when_full
        )
        for service in (OWN, EDGE)
    )
    keeper = AuditKeeper(database, chain, signer, checkpoints, settings.keeping_rules, own, clock)
    return AuditOffice(own, edge, chain, checkpoints, keeper)


@asynccontextmanager
async def auditing(
    office: AuditOffice, seconds: float, when_broken: Callable[[], None]
) -> AsyncIterator[None]:
    """Run the parts; at the end write what waits and sign it.

    Args:
        office: The parts.
        seconds: Time to write what waits at the end.
        when_broken: Called when a part dies: a service must not go on without its audit.
    """
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_sign_last, office.keeper)
        keeping = asyncio.create_task(office.keeper.run(), name="audit-keeper")
        stack.push_async_callback(end_task, keeping)
        writing = [
            await stack.enter_async_context(delivering(queue, seconds)) for queue in (office.own, office.edge)
        ]
        for task in (keeping, *writing):
            task.add_done_callback(partial(_report, when_broken))
        yield


def _report(when_broken: Callable[[], None], task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (fault := task.exception()) is not None:
        log.error("the audit is broken", part=task.get_name(), exc_info=fault)
        when_broken()


async def _sign_last(keeper: AuditKeeper) -> None:
    """Sign the end; there is nobody left to tell that it failed but the log."""
    try:
        await keeper.checkpoint()
    except OSError as error:
        log.warning("the last checkpoint was not written", error=type(error).__name__)
