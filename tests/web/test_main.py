"""The process itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

import httpx
import pytest

WAIT_SECONDS = 120


async def start(**environment: str) -> asyncio.subprocess.Process:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "web", env={**clean, **environment}, stderr=asyncio.subprocess.PIPE
    )


async def errors(process: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(WAIT_SECONDS):
        _, text = await process.communicate()
    return text.decode()


@pytest.mark.slow
async def test_it_serves_until_it_is_told_to_stop() -> None:
    process = await start(PARLEY_WEB_EDGE_ADDRESS="127.0.0.1:1")
    assert process.stderr is not None
    async with asyncio.timeout(WAIT_SECONDS):
        port = 0
        while not port:
            port = json.loads(await process.stderr.readline()).get("port", 0)
        async with httpx.AsyncClient(trust_env=False, timeout=WAIT_SECONDS) as client:
            assert (await client.get(f"http://127.0.0.1:{port}/healthz")).text == "ok"
    process.send_signal(signal.SIGTERM)
    assert "Traceback" not in await errors(process)
    assert process.returncode == 0


@pytest.mark.slow
async def test_wrong_settings_are_told_in_a_line() -> None:
    process = await start(PARLEY_WEB_EDGE_ADRESS="127.0.0.1:1")
    assert "PARLEY_WEB_EDGE_ADRESS is not a setting; did you mean PARLEY_WEB_EDGE_ADDRESS?" in await errors(
        process
    )
    assert process.returncode == 2


@pytest.mark.slow
async def test_a_missing_file_is_told_in_a_line() -> None:
    process = await start(
        PARLEY_WEB_EDGE_ADDRESS="127.0.0.1:1", PARLEY_WEB_EDGE_AUTHORITY_PATH="/nowhere/ca.pem"
    )
    text = await errors(process)
    assert "/nowhere/ca.pem" in text
    assert "Traceback" not in text
    assert process.returncode == 1
