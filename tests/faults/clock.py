"""The clock of a platform's machine, which jumps (`clock.c`)."""

from __future__ import annotations

import asyncio
import shutil
import struct
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.faults.faults import HANG_SECONDS, Fault
from tests.platform import Stack

SOURCE = Path(__file__).with_name("clock.c")
COMPILER = shutil.which("cc")
COMPILE_SECONDS = 60
OFFSET = "offset"
AHEAD_SECONDS = 3600
"""Longer than a token of access is valid, and than whatever is leased."""


def settings(folder: Path) -> Mapping[str, str]:
    """Variables of a platform whose clock goes by a file in this folder; takes a compiler."""
    assert COMPILER is not None
    library, offset = folder / "clock.so", folder / OFFSET
    command = (COMPILER, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(SOURCE))
    subprocess.run(command, check=True, timeout=COMPILE_SECONDS)
    _set(offset, 0)
    own = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(offset)}
    return {**own, "PARLEY_PASS_VARIABLES": ",".join(own)}


def jump(folder: Path) -> Fault:
    """The clock is an hour ahead for a while, and then right again: it jumps forth and back."""

    async def strike(stack: Stack) -> None:
        _set(folder / OFFSET, AHEAD_SECONDS)
        try:
            assert await _told(stack) > time.time() + AHEAD_SECONDS / 2
            await asyncio.sleep(HANG_SECONDS)
        finally:
            _set(folder / OFFSET, 0)

    return Fault(f"the clock is an hour ahead for {HANG_SECONDS:g} s", strike)


async def _told(stack: Stack) -> float:
    """What auth takes for now, in Unix time."""
    async with await stack.admin() as admin:
        made = await admin.create_key("the time", scopes=["inference.models"])
        await admin.revoke_key(made.key.key_id)
        return made.key.create_time.ToNanoseconds() / 1e9


def _set(offset: Path, seconds: int) -> None:
    """Let the clock be ahead by so many seconds: in one write, as others look at the file all the time."""
    with offset.open("r+b" if offset.exists() else "wb", buffering=0) as file:
        file.write(struct.pack("=q", seconds * 10**9))
