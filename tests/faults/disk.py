"""The disk of a platform: a small file system of its own, which is filled."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.faults import HANG_SECONDS, Fault
from tests.platform import Stack

DISK_BYTES = 512 * 2**20
PIECE = bytes(2**16)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system in memory in this folder, until the block's end."""
    folder.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "disk", str(folder))
    try:
        yield folder
    finally:
        _run("umount", "--lazy", str(folder))


def full() -> Fault:
    """Nothing more can be written where a platform keeps its state."""

    async def strike(stack: Stack) -> None:
        ballast = stack.home.path / "ballast"
        assert os.statvfs(stack.home.path).f_blocks * os.statvfs(stack.home.path).f_frsize <= DISK_BYTES
        try:
            await asyncio.to_thread(_fill, ballast)
            await asyncio.sleep(HANG_SECONDS)
            assert os.statvfs(stack.home.path).f_bavail == 0
        finally:
            ballast.unlink()

    return Fault(f"the disk is full for {HANG_SECONDS:g} s", strike)


def _fill(ballast: Path) -> None:
    """Take all there is, to the last byte."""
    with ballast.open("wb", buffering=0) as file:
        for piece in (PIECE, b"\0"):
            try:
                while file.write(piece) == len(piece):
                    pass
            except OSError:
                continue


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=10)
