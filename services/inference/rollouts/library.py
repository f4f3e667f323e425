"""The rollouts of all tenants, in the database that all replicas share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from ulid import ULID

from parley.inference.v1 import rollout_pb2
from services.inference.rollouts.errors import RolloutNotFound, RolloutRunning, TooManyRollouts
from services.inference.rollouts.models import StoredRollout
from services.sql.database import Database

MAX_ROLLOUTS = 100

Key = tuple[str, str, str]
"""Tenant, alias and the change that is read."""


class RolloutLibrary:
    """Rollouts in a database; each method is one transaction and raises as its names say."""

    def __init__(self, database: Database, *, max_rollouts: int = MAX_ROLLOUTS) -> None:
        """Keep them here.

        Args:
            database: With the schema of `services.inference.rollouts.schema`.
            max_rollouts: How many aliases a tenant may have.
        """
        self._database = database
        self._max_rollouts = max_rollouts

    async def create(self, tenant_id: str, rollout: rollout_pb2.Rollout) -> rollout_pb2.Rollout:
        """Begin a rollout, in place of one of the alias that is over.

        Raises:
            RolloutRunning: The alias has one that is not over.
            TooManyRollouts: The tenant has all aliases that one may have.
        """
        begun = rollout_pb2.Rollout()
        begun.CopyFrom(rollout)
        begun.rollout_id = str(ULID())
        begun.state = rollout_pb2.ROLLOUT_STATE_RUNNING
        begun.create_time.GetCurrentTime()
        try:
            async with self._database.writing() as session:
                stored = await _find(session, tenant_id, rollout.name, changing=True)
                if stored is None:
                    await self._refuse_too_many(session, tenant_id)
                    stored = StoredRollout(tenant_id=tenant_id, name=rollout.name)
                    session.add(stored)
                elif _body(stored).state == rollout_pb2.ROLLOUT_STATE_RUNNING:
                    raise RolloutRunning(rollout.name)
                _store(stored, begun)
        except IntegrityError:  # another was begun at the same moment
            raise RolloutRunning(rollout.name) from None
        return begun

    async def get(self, tenant_id: str, name: str) -> rollout_pb2.Rollout:
        """A rollout.

        Raises:
            RolloutNotFound: The tenant has none of this name.
        """
        async with self._database.reading() as session:
            return _body(await _found(session, tenant_id, name))

    async def page(self, tenant_id: str, after: str, size: int) -> list[rollout_pb2.Rollout]:
        """Rollouts of a tenant by name, after a name."""
        query = select(StoredRollout).where(StoredRollout.tenant_id == tenant_id, StoredRollout.name > after)
        async with self._database.reading() as session:
            return list(map(_body, await session.scalars(query.order_by(StoredRollout.name).limit(size))))

    async def give(
        self,
        tenant_id: str,
        name: str,
        state: rollout_pb2.RolloutState.ValueType,
        choose: Callable[[rollout_pb2.Rollout], str],
    ) -> rollout_pb2.Rollout:
        """Give everybody one variant.

        Args:
            tenant_id: Whose rollout it is.
            name: The alias.
            state: What that makes of the rollout.
            choose: Names the variant; what it raises changes nothing.

        Raises:
            RolloutNotFound: The tenant has none of this name.
        """
        async with self._database.writing() as session:
            stored = await _found(session, tenant_id, name, changing=True)
            rollout = _body(stored)
            serving = choose(rollout)
            if (rollout.state, rollout.serving_variant_name) != (state, serving):
                rollout.state, rollout.serving_variant_name = state, serving
                rollout.ClearField("breach")
                _store(stored, rollout)
            return rollout

    async def roll_back(
        self, tenant_id: str, name: str, rollout_id: str, breach: rollout_pb2.GuardrailBreach
    ) -> bool:
        """Give everybody the stable variant, for what was found.

        Returns:
            Whether it was done here: it is not where that rollout is over, or gone, by now.
        """
        async with self._database.writing() as session:
            stored = await _find(session, tenant_id, name, changing=True)
            if stored is None:
                return False
            rollout = _body(stored)
            if rollout.rollout_id != rollout_id or rollout.state != rollout_pb2.ROLLOUT_STATE_RUNNING:
                return False
            rollout.state = rollout_pb2.ROLLOUT_STATE_ROLLED_BACK
            rollout.serving_variant_name = rollout.stable_variant_name
            rollout.breach.CopyFrom(breach)
            _store(stored, rollout)
            return True

    async def delete(self, tenant_id: str, name: str) -> None:
        """Take an alias away, if it is there."""
        async with self._database.writing() as session:
            await session.execute(
                delete(StoredRollout).where(StoredRollout.tenant_id == tenant_id, StoredRollout.name == name)
            )

    async def changes(self) -> frozenset[Key]:
        """Which aliases there are, of all tenants, and how far each was changed."""
        query = select(StoredRollout.tenant_id, StoredRollout.name, StoredRollout.change_id)
        async with self._database.reading() as session:
            return frozenset((tenant, name, change) for tenant, name, change in await session.execute(query))

    async def all(self) -> Sequence[tuple[str, rollout_pb2.Rollout]]:
        """The rollouts of all tenants, each with its tenant."""
        async with self._database.reading() as session:
            return [(each.tenant_id, _body(each)) for each in await session.scalars(select(StoredRollout))]

    async def _refuse_too_many(self, session: AsyncSession, tenant_id: str) -> None:
        query = select(func.count()).select_from(StoredRollout).where(StoredRollout.tenant_id == tenant_id)
        if (await session.scalar(query) or 0) >= self._max_rollouts:
            raise TooManyRollouts(self._max_rollouts)


async def _find(
    session: AsyncSession, tenant_id: str, name: str, *, changing: bool = False
) -> StoredRollout | None:
    """A rollout; `changing` keeps others from changing it until the transaction ends."""
    query = select(StoredRollout).where(StoredRollout.tenant_id == tenant_id, StoredRollout.name == name)
    return await session.scalar(query.with_for_update() if changing else query)


async def _found(
    session: AsyncSession, tenant_id: str, name: str, *, changing: bool = False
) -> StoredRollout:
    stored = await _find(session, tenant_id, name, changing=changing)
    if stored is None:
        raise RolloutNotFound(name)
    return stored


def _body(stored: StoredRollout) -> rollout_pb2.Rollout:
    return rollout_pb2.Rollout.FromString(stored.body)


def _store(stored: StoredRollout, rollout: rollout_pb2.Rollout) -> None:
    """Note a rollout as it is now."""
    rollout.update_time.GetCurrentTime()
    stored.change_id, stored.body = str(ULID()), rollout.SerializeToString()
