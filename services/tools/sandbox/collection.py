"""What a program left in its folders.

The tree is the program's work: it may be deep, wide, and full of links. It is
collected when the program's processes have gone, so nothing moves meanwhile.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from services.tools.sandbox.policy import Limits

MAX_DEPTH = 16
MAX_PATH_CHARACTERS = 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Collected:
    """Files that a program made or changed.

    Attributes:
        files: Their bytes, by path.
        left_out: Paths of what is no plain file with a plain name and path.
    """

    files: Mapping[str, bytes]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Found:
    """An entry: its path, the folder that holds it, and what it is."""

    path: str
    folder: int
    name: str
    status: os.stat_result
    too_deep: bool

    @property
    def usable(self) -> bool:
        """Whether it is a plain file that can keep its path in a workspace."""
        plain = stat.S_ISREG(self.status.st_mode) and self.status.st_nlink == 1
        return plain and self.path.isprintable() and len(self.path) <= MAX_PATH_CHARACTERS

    def read(self, most: int) -> bytes:
        """Its first `most` bytes."""
        descriptor = os.open(self.name, _FILE, dir_fd=self.folder)
        with os.fdopen(descriptor, "rb") as file:
            return file.read(most)


def collect(workspace: int, known: Mapping[str, bytes], stamp: int, limits: Limits) -> Collected:
    """Read what is new or changed. Blocks.

    Args:
        workspace: The folder's handle, which this closes.
        known: The files that went in, by path.
        stamp: The time of change that they were given, in nanoseconds.
        limits: How much there may be at most; what is beyond is left out.
    """
    try:
        return _collect(islice(_walk(workspace), limits.entries), known, stamp, limits.workspace_bytes)
    finally:
        os.close(workspace)


def _collect(entries: Iterable[_Found], known: Mapping[str, bytes], stamp: int, room: int) -> Collected:
    files: dict[str, bytes] = {}
    left_out: list[str] = []
    for found in entries:
        size = found.status.st_size
        if stat.S_ISDIR(found.status.st_mode) and not found.too_deep:
            continue
        if found.path in known and found.status.st_mtime_ns == stamp and size == len(known[found.path]):
            continue
        if found.usable and size <= room:
            files[found.path] = found.read(size)
            room -= size
        else:
            left_out.append(found.path.encode("utf-8", "replace").decode())
    return Collected(files, tuple(left_out))


def measure(folder: Path, limits: Limits) -> tuple[int, int]:
    """Bytes and entries in a folder that a program fills meanwhile; too deep a tree counts as too many."""
    size = entries = 0
    descriptor = os.open(folder, _FOLDER)
    try:
        for found in islice(_walk(descriptor), limits.entries + 1):
            size += found.status.st_blocks * 512
            entries += limits.entries if found.too_deep else 1
    finally:
        os.close(descriptor)
    return size, entries


def _walk(folder: int, prefix: str = "", depth: int = 1) -> Iterator[_Found]:
    """All that is in a folder and below; links are not followed, nor is anything below `MAX_DEPTH`."""
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
                is_folder = stat.S_ISDIR(status.st_mode)
                too_deep = is_folder and depth == MAX_DEPTH
                yield _Found(prefix + entry.name, folder, entry.name, status, too_deep)
                if is_folder and not too_deep:
                    yield from _below(folder, entry.name, prefix, depth)
            except OSError:
                continue  # It vanished, or the program forbade to look.


def _below(folder: int, name: str, prefix: str, depth: int) -> Iterator[_Found]:
    descriptor = os.open(name, _FOLDER, dir_fd=folder)
    try:
        yield from _walk(descriptor, f"{prefix}{name}/", depth + 1)
    finally:
        os.close(descriptor)
