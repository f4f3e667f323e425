"""How much a workspace may hold, and how much it holds."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from services.tools.errors import WorkspaceFull

MAX_DEPTH = 40
"""Deeper than any folder that tools make."""


@dataclass(frozen=True)
class WorkspaceLimits:
    """How much all workspaces of one user may hold together.

    Attributes:
        bytes: Bytes of all files.
        entries: Files and folders.
    """

    bytes: int = 256 * 2**20
    entries: int = 10_000


@dataclass(frozen=True)
class Usage:
    """How much a workspace holds.

    Attributes:
        bytes: Bytes of all files.
        entries: Files, folders and whatever else has a name.
    """

    bytes: int
    entries: int


class Room:
    """What may still be added to a workspace while its lock is held."""

    def __init__(self, limits: WorkspaceLimits, usage: Usage) -> None:
        """Begin with what the limits leave."""
        self._limits = limits
        self._bytes = limits.bytes - usage.bytes
        self._entries = limits.entries - usage.entries

    def take(self, size_bytes: int, entries: int = 0) -> None:
        """Use up some of it; a negative number gives back.

        Raises:
            WorkspaceFull: There is not so much left; nothing is used up.
        """
        too_large = size_bytes > 0 and size_bytes > self._bytes
        if too_large or (entries > 0 and entries > self._entries):
            raise WorkspaceFull(self._limits.bytes, self._limits.entries)
        self._bytes -= size_bytes
        self._entries -= entries


def measure(folder: int, limits: WorkspaceLimits) -> Usage:
    """How much a folder holds; looks at no more than one entry beyond the limit.

    Args:
        folder: The folder's handle.
        limits: What it may hold.
    """
    size = entries = 0
    for status in islice(_walk(folder), limits.entries + 1):
        entries += 1
        size += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return Usage(size, entries)


def _walk(folder: int, depth: int = 1) -> Iterator[os.stat_result]:
    with os.scandir(folder) as found:
        for entry in found:
            try:
                status = entry.stat(follow_symlinks=False)
                yield status
                if stat.S_ISDIR(status.st_mode) and depth < MAX_DEPTH:
                    yield from _below(folder, entry.name, depth)
            except OSError:
                continue  # It vanished, or is a folder no more.


def _below(folder: int, name: str, depth: int) -> Iterator[os.stat_result]:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        yield from _walk(descriptor, depth + 1)
    finally:
        os.close(descriptor)
