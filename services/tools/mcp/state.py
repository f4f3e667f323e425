"""The file that keeps MCP servers which were added while the service ran."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from services.tools.settings import McpServerSetting, ServerName

MAX_FILE_BYTES = 4 * 2**20

_PRIVATE_FILE = 0o600
_PRIVATE_FOLDER = 0o700

Added = dict[str, dict[str, McpServerSetting]]
"""Servers by tenant and name."""


class StateUnusable(Exception):
    """The file cannot be read or written; the message says why."""


class _Content(BaseModel):
    """What stands in the file. It names secrets and holds none."""

    model_config = ConfigDict(extra="forbid")

    tenants: dict[str, dict[ServerName, McpServerSetting]] = {}


class StateFile:
    """Added servers, in a file of the service's owner alone.

    Replicas that share the file see what the others add.
    """

    def __init__(self, path: Path) -> None:
        """Keep them here; the folder is made when it is needed."""
        self._path = path

    @property
    def version(self) -> tuple[int, int]:
        """Changes whenever the content may have."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return (0, 0)
        return (found.st_mtime_ns, found.st_ino)

    def read(self) -> Added:
        """What was added. Blocks.

        Raises:
            StateUnusable: The file cannot be read, or holds something else.
        """
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StateUnusable(f"{self._path} cannot be read: {error.strerror}") from error
        if len(content) > MAX_FILE_BYTES:
            raise StateUnusable(f"{self._path} is larger than {MAX_FILE_BYTES} bytes")
        try:
            return {
                tenant: dict(found) for tenant, found in _Content.model_validate_json(content).tenants.items()
            }
        except ValidationError:
            raise StateUnusable(f"{self._path} does not hold MCP servers") from None

    @contextmanager
    def changing(self) -> Iterator[Added]:
        """What was added, to be changed; it is written when the block ends well. Blocks.

        Nobody else changes the file meanwhile.

        Raises:
            StateUnusable: The file cannot be read or written.
        """
        try:
            self._path.parent.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
            lock = os.open(
                self._path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, _PRIVATE_FILE
            )
        except OSError as error:
            raise StateUnusable(f"{self._path} cannot be changed: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            added = self.read()
            yield added
            self._write(added)
        finally:
            os.close(lock)

    def _write(self, added: Added) -> None:
        content = _Content(tenants={tenant: found for tenant, found in added.items() if found})
        scratch = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        try:
            descriptor = os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, _PRIVATE_FILE)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content.model_dump_json(indent=2).encode())
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(self._path)
        except OSError as error:
            scratch.unlink(missing_ok=True)
            raise StateUnusable(f"{self._path} cannot be written: {error.strerror}") from error
