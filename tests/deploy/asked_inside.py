"""Run inside of auth's container: what the store and the database say to those who come, each in another way.

It prints JSON. What it imports is in the image.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from redis.asyncio import Redis

SECRETS = Path("/run/secrets")
STORE = (SECRETS / "PARLEY_AUTH_STORE_URL").read_text()
DATABASE = urlsplit((SECRETS / "PARLEY_AUTH_DATABASE_URL").read_text())
TABLES = "select table_name from information_schema.tables where table_schema = 'public'"
CAME_WITHOUT_TLS = """
select count(*) from pg_stat_activity join pg_stat_ssl using (pid) where client_addr is not null and not ssl
"""


async def outcome(tried: Awaitable[Any]) -> str:
    """What came of it; an error by its class and text."""
    try:
        async with asyncio.timeout(10):
            return str(await tried)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


async def store(url: str, *command: str) -> str:
    client = Redis.from_url(url, protocol=2)
    try:
        return await outcome(client.execute_command(*(command or ("PING",))))  # type: ignore[no-untyped-call]
    finally:
        await client.aclose()


async def database(query: str, **how: Any) -> Any:
    """What a query gives in a connection that is made as the service makes it, but for what is said."""
    usual = {"user": DATABASE.username, "password": DATABASE.password, "ssl": "verify-full"}
    at = {"host": DATABASE.hostname, "port": DATABASE.port, "database": DATABASE.path.strip("/")}
    connection = await asyncpg.connect(**at, **{**usual, **how})
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def main() -> None:
    where = urlsplit(STORE)
    address = f"{where.hostname}:{where.port}/0?{where.query}"
    version = "select version from pg_stat_ssl where pid = pg_backend_pid()"
    said = {
        "store": {
            "as it should": await store(STORE),
            "without TLS": await store(STORE.replace("rediss:", "redis:").partition("?")[0]),
            "not trusting the authority": await store(STORE.partition("?")[0]),
            "with a wrong password": await store(f"rediss://{where.username}:wrong@{address}"),
            "without a password": await store(f"rediss://{address}"),
            "as the default user": await store(f"rediss://default:{where.password}@{address}"),
            "at the cache": await store(STORE.replace(f"@{where.hostname}", "@cache")),
            "to empty it": await store(STORE, "FLUSHALL"),
            "to change its settings": await store(STORE, "CONFIG", "SET", "maxmemory", "1"),
        },
        "database": {
            "as it should": (await database(version))[0],
            "without TLS": await outcome(database(version, ssl="disable")),
            "with a wrong password": await outcome(database(version, password="wrong")),
            "without a password": await outcome(database(version, password="")),
            "tables": await database(TABLES),
            "came without TLS": (await database(CAME_WITHOUT_TLS))[0],
        },
    }
    print(json.dumps(said))


if __name__ == "__main__":
    asyncio.run(main())
