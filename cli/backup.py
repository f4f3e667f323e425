"""`parley backup`: a copy of what a local stack must not lose, made while it runs."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from cli.console import answers
from cli.environment import command_settings, inherited
from cli.failures import CommandError, ExitCode, told
from cli.home import Home

FOLDERS = ("certificates", "auth", "workspaces")
"""Before the databases: the audit's checkpoints must not know of records that the copy lacks."""
DATABASES = ("auth/auth.db", "inference/conversations.db")
ELSEWHERE = (
    *("PARLEY_AUTH_DATABASE_URL", "PARLEY_AUTH_DATA_PATH"),
    *("PARLEY_INFERENCE_DATABASE_URL", "PARLEY_TOOLS_WORKSPACE_PATH"),
)
"""With one of these set, the home is not all that there is."""


@told
def backup(
    folder: Annotated[Path, typer.Argument(help="Where the copy is put; nothing may be there yet.")],
) -> None:
    """Copy the local stack's home without logs and stores, also while it runs. The copy is a home itself."""
    settings = command_settings(os.environ)
    home = Home(settings.home.absolute())
    _check(home, folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _copy(home.path, half, inherited(os.environ, settings.pass_variables))
            half.rename(folder)
        finally:
            shutil.rmtree(half, ignore_errors=True)
    except OSError as error:
        message = f"The backup cannot be written: {error}."
        raise CommandError(message, "Nothing is kept of it.", ExitCode.MACHINE) from None
    answers().print(f"{home.path} is copied to {folder}.", markup=False, soft_wrap=True)


def _check(home: Home, folder: Path) -> None:
    """Refuses what could be no whole backup.

    Raises:
        CommandError: Something lies there already, there is nothing to copy, or not all of it is here.
    """
    if folder.exists():
        raise CommandError(f"{folder} exists.", "Name a folder that does not.", ExitCode.MACHINE)
    if not (home.path / DATABASES[0]).exists():
        message = f"No stack was ever started from {home.path}."
        raise CommandError(message, "PARLEY_HOME names the folder.", ExitCode.MACHINE)
    for name in ELSEWHERE:
        if name in os.environ:
            message = f"{name} puts data elsewhere than {home.path}."
            raise CommandError(message, "docs/guide/backup.md says how it is copied.", ExitCode.MACHINE)


def _copy(home: Path, target: Path, environment: Mapping[str, str]) -> None:
    """Copies files as they are, without those that are removed meanwhile, and then the databases.

    Raises:
        OSError: Something that is there cannot be copied.
        CommandError: A database cannot.
    """
    databases = [name for name in DATABASES if (home / name).exists()]
    theirs = tuple(str(home / name) for name in databases)  # their journals' names begin so, too

    def ignored(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if str(Path(folder, name)).startswith(theirs)]

    for name in FOLDERS:
        if (home / name).exists():
            _copy_tree(home / name, target / name, ignored)
    _copy_databases(home, target, databases, environment)


def _copy_tree(source: Path, target: Path, ignored: Callable[[str, list[str]], list[str]]) -> None:
    try:
        shutil.copytree(source, target, symlinks=True, ignore=ignored, copy_function=_copy_file)
    except shutil.Error as error:
        left = [why for path, _, why in error.args[0] if os.path.lexists(path)]
        if left:
            raise OSError(left[0]) from None


def _copy_file(source: str, target: str) -> None:
    if stat.S_ISREG(os.lstat(source).st_mode):  # a pipe would hold the copy up for ever
        shutil.copy2(source, target)


def _copy_databases(home: Path, target: Path, names: Sequence[str], environment: Mapping[str, str]) -> None:
    """Has the auth service's own code copy each database as of one moment.

    Raises:
        CommandError: It could not.
    """
    pairs: list[str] = []
    for name in names:
        (target / name).parent.mkdir(exist_ok=True, mode=0o700)
        pairs += [str(home / name), str((target / name).absolute())]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "services.auth.store.backup", *pairs],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        why = (done.stderr.strip() or "it was not said why").splitlines()[-1]
        raise CommandError(f"A database was not copied: {why}.", "Nothing is kept.", ExitCode.MACHINE)
