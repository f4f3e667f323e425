"""Fills a database with many users and keys, to see how identity does when it has grown.

Usage: PARLEY_AUTH_… python -m services.auth.population --users 10000 --keys 100000

The users belong to the root tenant and cannot log in; nobody knows the keys.
For benchmarks alone, with the settings of the auth service.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Table, insert, select
from ulid import ULID

from services.auth.clock import utc_now
from services.auth.keys import mint
from services.auth.settings import AuthSettings
from services.auth.store.models import ApiKey, Tenant, User
from services.rpc.settings import load
from services.sql.database import Database, parse_url

ROWS_AT_ONCE = 1000


def users(tenant_id: str, number: int, now: datetime) -> Iterator[dict[str, Any]]:
    """So many users, as rows."""
    for _ in range(number):
        name = f"populace-{secrets.token_hex(8)}"
        yield {
            "user_id": str(ULID()),
            "tenant_id": tenant_id,
            "username": name,
            "canonical_username": name,
            "password_hash": None,
            "create_time": now,
        }


def keys(owners: Sequence[dict[str, Any]], number: int, now: datetime) -> Iterator[dict[str, Any]]:
    """So many keys of these owners in turn, as rows."""
    for at in range(number):
        owner, key = owners[at % len(owners)], mint()
        yield {
            "key_id": str(ULID()),
            "tenant_id": owner["tenant_id"],
            "user_id": owner["user_id"],
            "name": f"key {at}",
            "prefix": key.prefix,
            "digest": key.digest(),
            "scopes": [],
            "allowed_addresses": [],
            "create_time": now,
        }


async def populate(database: Database, user_count: int, key_count: int) -> None:
    """Add users and keys to the root tenant."""
    now = utc_now()
    async with database.reading() as session:
        tenant_id = (await session.scalars(select(Tenant.tenant_id).where(Tenant.root))).one()
    owners = list(users(tenant_id, user_count, now))
    await _write(database, User.__table__, iter(owners))
    await _write(database, ApiKey.__table__, keys(owners, key_count, now))


async def _write(database: Database, table: Any, rows: Iterator[dict[str, Any]]) -> None:
    assert isinstance(table, Table)  # noqa: S101 - declared so by SQLAlchemy
    while batch := list(islice(rows, ROWS_AT_ONCE)):
        async with database.writing() as session:
            await session.execute(insert(table), batch)


async def _main(user_count: int, key_count: int) -> None:
    database = Database(parse_url(load(AuthSettings).database_url.get_secret_value()))
    try:
        await populate(database, user_count, key_count)
    finally:
        await database.close()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=10_000, help="users to add, 1 or more")
    parser.add_argument("--keys", type=int, default=100_000, help="keys to add, spread over the users")
    options = parser.parse_args()
    asyncio.run(_main(options.users, options.keys))


if __name__ == "__main__":
    main()
