"""Files that only the service's own account may read."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from services.auth.errors import StartError


def prepare_folder(folder: Path) -> Path:
    """Make sure that a folder exists, belongs to us alone, and can be written.

    Raises:
        StartError: It cannot be had.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        write_new(probe := folder / f".probe-{secrets.token_hex(8)}", b"")
        probe.unlink()
    except OSError as error:
        raise StartError(f"the folder {folder} cannot be written: {error.strerror}") from error
    return folder


def write_new(path: Path, content: bytes) -> None:
    """Write a file that must not exist yet, readable by its owner alone from the first byte on.

    Raises:
        FileExistsError: It exists; a link counts, wherever it leads.
        OSError: It cannot be written; nothing is left of it.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink()
        raise


def replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, whatever was there before.

    Raises:
        OSError: It cannot be written.
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    write_new(fresh, content)
    fresh.replace(path)


def read_or_make(path: Path, make: Callable[[], bytes]) -> bytes:
    """The file's content, made the first time; replicas that start together agree on one.

    Raises:
        StartError: The file cannot be read or written.
    """
    try:
        if not path.exists():
            fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
            write_new(fresh, make())
            try:
                os.link(fresh, path)  # unlike a rename, leaves what another replica put there
            except FileExistsError:
                return path.read_bytes()
            finally:
                fresh.unlink()
        return path.read_bytes()
    except OSError as error:
        raise StartError(f"the file {path} cannot be used: {error.strerror}") from error
