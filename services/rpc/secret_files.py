"""Settings in files, one each: what container engines and clusters make of secrets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SECRETS_PATH = "PARLEY_SECRETS_PATH"  # a variable's name  # pragma: allowlist secret
"""The variable that names the folder. A file in it is named as the variable that it stands for."""

MOST_BYTES = 64 * 2**10


class SecretFilesUnusable(Exception):
    """The folder, or a file in it, cannot be used; the message says which and why, never what it holds."""


def secrets_folder(environment: Mapping[str, str]) -> Path | None:
    """The folder of settings in files; None where there is none."""
    named = environment.get(SECRETS_PATH, "")
    return Path(named) if named else None


def secret_files(folder: Path, prefix: str) -> list[str]:
    """The names of the files in the folder that are one process's, each readable and of a sane size.

    Raises:
        SecretFilesUnusable: The folder cannot be listed, or a file not be read.
    """
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.name.upper().startswith(prefix))
    except OSError as error:
        raise SecretFilesUnusable(
            f"{SECRETS_PATH}: {folder} cannot be listed: {error.strerror}; name a folder, or unset it"
        ) from None
    for name in names:
        _check(folder / name)
    return names


def _check(file: Path) -> None:
    """Refuse what is no small, readable file."""
    try:
        if not file.is_file():
            raise SecretFilesUnusable(f"{file} is no file")
        with file.open("rb") as opened:
            size = len(opened.read(MOST_BYTES + 1))
    except OSError as error:
        raise SecretFilesUnusable(f"{file} cannot be read: {error.strerror}") from None
    if size > MOST_BYTES:
        raise SecretFilesUnusable(f"{file} has more than {MOST_BYTES // 1024} KiB, which no setting has")
