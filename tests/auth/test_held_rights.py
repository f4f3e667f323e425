"""Rights that are taken away while a token is signed: whoever takes them waits, and the token ends with them.

On PostgreSQL alone: SQLite has one writer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import pytest
from sqlalchemy import select, text, update

from services.auth.passwords import Passwords
from services.auth.store.models import Role, Tenant, User
from services.auth.store.revocation_models import Revocation
from services.auth.store.users import UserRecords
from services.auth.tenant_roles import RoleChanges, TenantRoles
from services.auth.tenants import Tenants
from services.auth.users import UserChanges, Users
from services.rpc.principal import Principal
from services.sql.database import Database
from tests.auth.conftest import FakeClock, add_user
from tests.conftest import TokenMaker
from tests.postgresql import new_database

PATIENCE_SECONDS = 15
WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")


class Ticking(FakeClock):
    """A clock that goes on by a second whenever somebody looks at it, so that all times differ."""

    def __call__(self) -> datetime:
        self.advance(seconds=1)
        return self.now


@pytest.fixture
def database_url(postgresql: str, postgresql_template: str) -> Iterator[str]:
    with new_database(postgresql, postgresql_template) as url:
        yield url


@pytest.fixture
def clock() -> FakeClock:
    return Ticking()


@dataclass
class Office:
    """Those who take rights away.

    Attributes:
        chief: An administrator of the tenant.
        operator: One of the root tenant.
        users: Changes users.
        roles: Changes roles.
        tenants: Changes tenants.
    """

    chief: Principal
    operator: Principal
    users: Users
    roles: TenantRoles
    tenants: Tenants


async def disable(office: Office, user: User) -> None:
    await office.users.disable(office.chief, user.user_id)


async def take_a_role(office: Office, user: User) -> None:
    await office.users.update(office.chief, user.user_id, UserChanges(roles=["viewer"]), "")


async def narrow_a_role(office: Office, user: User) -> None:
    await office.roles.update(office.chief, "clerk", RoleChanges(permissions=[]), "")


async def disable_the_tenant(office: Office, user: User) -> None:
    await office.tenants.disable(office.operator, user.tenant_id)


@pytest.fixture
async def clerk(database: Database, passwords: Passwords) -> User:
    """Whose rights are taken away."""
    user = await add_user(database, passwords, "ada", "clerk", "user")
    role = Role(
        tenant_id=user.tenant_id,
        name="clerk",
        description="",
        permissions=["auth.usage.read"],
        create_time=user.create_time,
    )
    async with database.writing() as session:
        session.add(role)
    return user


@pytest.fixture
async def office(
    database: Database, passwords: Passwords, clock: FakeClock, clerk: User, tokens: TokenMaker
) -> Office:
    stranger = await add_user(database, passwords, "root", "admin")
    async with database.writing() as session:
        await session.execute(update(Tenant).where(Tenant.tenant_id == stranger.tenant_id).values(root=True))
    return Office(
        chief=tokens.principal("*", tenant_id=clerk.tenant_id),
        operator=tokens.principal("*", tenant_id=stranger.tenant_id),
        users=Users(database, passwords, clock),
        roles=TenantRoles(database, clock),
        tenants=Tenants(database, passwords, clock),
    )


async def until_somebody_waits(database: Database) -> None:
    """Return when a transaction waits for another."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        waiting = 0
        while not waiting:
            async with database.reading() as session:
                waiting = await session.scalar(WAITING) or 0


@pytest.mark.parametrize("take_away", [disable, take_a_role, narrow_a_role, disable_the_tenant])
async def test_who_takes_rights_away_waits_for_the_token_and_is_younger(
    database: Database,
    clock: FakeClock,
    office: Office,
    clerk: User,
    take_away: Callable[[Office, User], Awaitable[None]],
) -> None:
    async with database.writing() as session:
        assert await UserRecords(session).hold(clerk)
        taking = asyncio.create_task(take_away(office, clerk))
        await until_somebody_waits(database)
        signed = clock()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await taking
    async with database.reading() as session:
        (revoked,) = await session.scalars(select(Revocation.revoke_time))
    assert signed < revoked
    async with database.writing() as session:
        assert not await UserRecords(session).hold(clerk), "what was read before is old"


async def test_what_takes_nothing_away_does_not_wait(database: Database, office: Office, clerk: User) -> None:
    async with database.writing() as session:
        assert await UserRecords(session).hold(clerk)
        async with asyncio.timeout(PATIENCE_SECONDS):
            role = await office.roles.update(office.chief, "clerk", RoleChanges(description="Counts."), "")
    assert role.description == "Counts."
