"""A platform under load loses a process: nothing that was acknowledged is lost, and every client is told.

The short form: processes that are soon back. `make faults` strikes each of them, on two replicas.
"""

from __future__ import annotations

import pytest

from tests.faults.faults import kill, suffer
from tests.faults.load import Load
from tests.platform import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("name", ["edge", "store"])
async def test_a_killed_process_loses_nothing_and_every_client_is_told(stack: Stack, name: str) -> None:
    async with await stack.admin() as admin:
        load = Load(admin)
        before = await load.recorded()
        async with load.running():
            seen = await suffer(stack, load, kill(name))
        assert not seen.untyped
        assert not seen.hung
        assert not [end for end in seen.failed if end.startswith(("read:", "resumable chat:"))]
        assert await load.lost() == []
        await load.until_recorded(before + load.delivered)
        await load.forget()
    verified = stack.parley("audit", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
