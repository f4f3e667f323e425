"""What subjects may use: set, shown, and found for a request."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from parley.auth.v1 import quota_pb2
from services.auth.clock import Clock
from services.auth.delegation import require_root
from services.auth.errors import QuotaNotFound, QuotaSubjectNotFound
from services.auth.roles import BUILT_IN
from services.auth.store.models import ApiKey, Role, User
from services.auth.store.quota_models import Quota
from services.auth.store.quotas import QuotaRecords
from services.auth.timestamps import timestamp
from services.ledger.limits import DIMENSIONS, Payer
from services.ledger.quotas import subject_from, subject_text
from services.rpc.principal import Principal
from services.sql.database import Database

log = structlog.get_logger("parley.auth")


class Quotas:
    """The quotas of tenants. Another tenant's are for callers of the root tenant alone."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep them in this database."""
        self._database = database
        self._clock = clock

    async def set(self, caller: Principal, tenant_id: str, quota: quota_pb2.Quota) -> quota_pb2.Quota:
        """Set a subject's quota in place of the one that it had.

        Raises:
            RootTenantOnly: The tenant, or its own quota, is not the caller's to set.
            QuotaSubjectNotFound: The tenant has no such user, key or role.
        """
        record = _record(tenant_id or caller.tenant_id, quota)
        record.update_time = self._clock()
        async with self._database.writing() as session:
            await _require_reach(session, caller, record.tenant_id, writes_tenant=record.kind == "tenant")
            await _require_subject(session, record)
            await QuotaRecords(session).put(record)
        log.info("quota set", subject=subject_text(quota.subject), tenant_id=record.tenant_id)
        return message(record)

    async def get(
        self, caller: Principal, tenant_id: str, subject: quota_pb2.QuotaSubject
    ) -> quota_pb2.Quota:
        """A subject's quota.

        Raises:
            QuotaNotFound: It has none.
            RootTenantOnly: The tenant is another.
        """
        tenant_id = tenant_id or caller.tenant_id
        async with self._database.reading() as session:
            await _require_reach(session, caller, tenant_id)
            record = await QuotaRecords(session).of(tenant_id, *_kind_and_name(subject))
        if record is None:
            raise QuotaNotFound(subject_text(subject))
        return message(record)

    async def page(
        self, caller: Principal, tenant_id: str, after: str, size: int
    ) -> Sequence[quota_pb2.Quota]:
        """The tenant's quotas, by kind and name, after the subject whose text is `after`.

        Raises:
            RootTenantOnly: The tenant is another.
        """
        tenant_id = tenant_id or caller.tenant_id
        place = _kind_and_name(subject_from(after)) if after else None
        async with self._database.reading() as session:
            await _require_reach(session, caller, tenant_id)
            found = await QuotaRecords(session).page(tenant_id, place, size)
        return [message(record) for record in found]

    async def delete(self, caller: Principal, tenant_id: str, subject: quota_pb2.QuotaSubject) -> None:
        """Take a subject's quota away, if it has one.

        Raises:
            RootTenantOnly: The tenant, or its own quota, is not the caller's to change.
        """
        tenant_id = tenant_id or caller.tenant_id
        kind, name = _kind_and_name(subject)
        async with self._database.writing() as session:
            await _require_reach(session, caller, tenant_id, writes_tenant=kind == "tenant")
            await QuotaRecords(session).delete(tenant_id, kind, name)
        log.info("quota deleted", subject=subject_text(subject), tenant_id=tenant_id)

    async def matching(self, payer: Payer, roles: Sequence[str]) -> list[quota_pb2.Quota]:
        """Every quota that a request of this payer is subject to."""
        async with self._database.reading() as session:
            return [message(record) for record in await QuotaRecords(session).matching(payer, roles)]


async def _require_reach(
    session: AsyncSession, caller: Principal, tenant_id: str, *, writes_tenant: bool = False
) -> None:
    """Refuse what reaches beyond the caller's tenant, and what would lift the tenant's own limit."""
    if writes_tenant or tenant_id != caller.tenant_id:
        await require_root(session, caller)


async def _require_subject(session: AsyncSession, record: Quota) -> None:
    """Refuse a user, key or role that the tenant does not have.

    Raises:
        QuotaSubjectNotFound: It has none of this name.
    """
    if record.kind == "user":
        user = await session.get(User, record.name)
        exists = user is not None and user.tenant_id == record.tenant_id
    elif record.kind == "key":
        key = await session.get(ApiKey, record.name)
        exists = key is not None and key.tenant_id == record.tenant_id
    elif record.kind == "role":
        exists = (
            record.name in BUILT_IN or await session.get(Role, (record.tenant_id, record.name)) is not None
        )
    else:
        return
    if not exists:
        raise QuotaSubjectNotFound(f"{record.kind}/{record.name}")


def _kind_and_name(subject: quota_pb2.QuotaSubject) -> tuple[str, str]:
    kind, _, name = subject_text(subject).partition("/")
    return kind, name


def _record(tenant_id: str, quota: quota_pb2.Quota) -> Quota:
    """A quota as the database keeps it; the caller sets the time."""
    kind, name = _kind_and_name(quota.subject)
    figures: dict[str, int | None] = {
        dimension.value: getattr(quota.limits, dimension.value)
        if quota.limits.HasField(dimension.value)
        else None
        for dimension in DIMENSIONS
    }
    priced = quota.HasField("price")
    figures["prompt_nanos"] = quota.price.prompt_nanos if priced else None
    figures["completion_nanos"] = quota.price.completion_nanos if priced else None
    return Quota(tenant_id=tenant_id, kind=kind, name=name, **figures)


def message(record: Quota) -> quota_pb2.Quota:
    """A quota as the contract shows it."""
    subject = f"{record.kind}/{record.name}" if record.name else record.kind
    limits = {dimension.value: getattr(record, dimension.value) for dimension in DIMENSIONS}
    quota = quota_pb2.Quota(
        subject=subject_from(subject),
        limits=quota_pb2.QuotaLimits(**limits),
        update_time=timestamp(record.update_time),
    )
    if record.prompt_nanos is not None:
        price = quota_pb2.TokenPrice(
            prompt_nanos=record.prompt_nanos, completion_nanos=record.completion_nanos or 0
        )
        quota.price.CopyFrom(price)
    return quota
