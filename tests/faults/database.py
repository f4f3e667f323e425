"""The database of a platform, a PostgreSQL: it crashes and comes back, and stands still."""

from __future__ import annotations

import asyncio
import signal

import asyncpg
import psutil
from sqlalchemy import make_url

from tests.faults.faults import HANG_SECONDS, Fault
from tests.platform import Stack, standing_still

OTHERS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def crash(url: str) -> Fault:
    """SIGKILL to one connection's process: the server then ends all others and recovers from its log."""

    async def strike(stack: Stack) -> None:
        del stack
        server, backend = await _processes(url)
        backend.send_signal(signal.SIGKILL)
        await asyncio.to_thread(psutil.wait_procs, [backend], 60)
        assert server.is_running()

    return Fault("the database crashes", strike)


def hang(url: str) -> Fault:
    """The server and all its connections stand still for a while."""

    async def strike(stack: Stack) -> None:
        del stack
        server, _ = await _processes(url)
        with standing_still(server):
            await asyncio.sleep(HANG_SECONDS)

    return Fault(f"the database stands still for {HANG_SECONDS:g} s", strike)


async def _processes(url: str) -> tuple[psutil.Process, psutil.Process]:
    """The server, and the process of one of the platform's connections."""
    place = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(place)
    try:
        backend = psutil.Process(await connection.fetchval(OTHERS))
    finally:
        await connection.close()
    server = backend.parent()
    assert server is not None
    return server, backend
