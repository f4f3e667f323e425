"""Programs in other languages that call the edge, as the guide has them started."""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from pathlib import Path

from tests.edge.front import Front

SECONDS = 60
BUILD_SECONDS = 500


async def build(command: Sequence[str | Path], folder: Path, **told: str) -> None:
    """Make a program. The loop goes on meanwhile: on it run the services whose health the edge asks for."""
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, env={**os.environ, **told})
    assert await asyncio.wait_for(process.wait(), BUILD_SECONDS) == 0


async def run(command: Sequence[str | Path], edge: Front, key: str) -> tuple[int | None, str, str]:
    """Run a program with this key; gives its exit status and what it printed."""
    environment = {
        "PARLEY_ADDRESS": edge.address,
        "PARLEY_API_KEY": key,
        "PARLEY_AUTHORITY_PATH": str(edge.settings.tls_authority_path),
    }
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=PIPE, stderr=PIPE)
    told, complaints = await asyncio.wait_for(process.communicate(), SECONDS)
    return process.returncode, told.decode(), complaints.decode()
