"""Log files of supervised processes, kept to a bounded size."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

LIMIT_BYTES = 10 * 2**20
KEPT = 3
TAIL_BYTES = 64 * 2**10
WORDS = 300
OURS = "parley."
"""How the loggers of our own processes begin."""


class LogFile:
    """A file that a process appends to by itself, so that no program stands between it and its log.

    Rotation copies and empties the file in place: the process goes on writing
    to the same one. Lines written between the two steps are lost.
    """

    look_seconds = 5.0

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._start = path.stat().st_size if path.exists() else 0

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """The file, for a process to append to."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            yield file

    def rotate_if_large(self) -> None:
        """Moves what was written aside once it is more than the limit, and forgets the oldest."""
        if self._path.stat().st_size <= self._limit_bytes:
            return
        with suppress(OSError):  # On a full disk, room for the next lines is worth more than the last.
            self._move_aside()
        os.truncate(self._path, 0)
        self._start = 0

    def _move_aside(self) -> None:
        for number in range(KEPT - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        shutil.copy2(self._path, self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def last_words(self) -> str:
        """Why this run ended, as far as it says, cut to a readable length.

        That is the last error of our own processes, or else the last line.
        """
        lines = self._tail()
        own = [entry["event"] for line in lines if _is_own_error(entry := _entry(line))]
        return (own or [_entry(line).get("event", line) for line in lines[-1:]] or [""])[-1][:WORDS]

    def last_step(self) -> str:
        """What one of our own processes said last about its start; empty for other programs."""
        entries = (_entry(line) for line in reversed(self._tail()))
        return next((entry["event"] for entry in entries if _is_own_step(entry)), "")

    def _tail(self) -> list[str]:
        """The last lines of this run, without empty ones."""
        with self._path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(min(self._start, size), size - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).decode(errors="replace").splitlines()
        return [line.strip() for line in lines if line.strip()]


def _is_own_step(entry: dict[str, str]) -> bool:
    """A start goes on through what its process warns of."""
    return entry.get("logger", "").startswith(OURS) and entry.get("level") == "info"


def _is_own_error(entry: dict[str, str]) -> bool:
    return entry.get("logger", "").startswith(OURS) and entry.get("level") in ("error", "critical")


def _entry(line: str) -> dict[str, str]:
    """The texts of a structured log line; empty for any other line."""
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    fields = entry.items() if isinstance(entry, dict) else ()
    return {key: value for key, value in fields if isinstance(value, str)}
