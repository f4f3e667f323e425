"""A folder of their own for every user of every tenant."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from services.tools.beneath import Folder, best_opener

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PRIVATE = 0o700


class WorkspaceUnusable(Exception):
    """The workspaces cannot be kept where the settings say; the message says why."""


@dataclass(frozen=True)
class Owner:
    """Whose workspace it is.

    Attributes:
        tenant_id: The tenant.
        user_id: The user within it.
    """

    tenant_id: str
    user_id: str


@dataclass(frozen=True)
class Workspaces:
    """Where the workspaces are.

    Attributes:
        root: Holds a folder per tenant, and in it one per user.
        template: Copied into a fresh workspace; None leaves it empty.
    """

    root: Path
    template: Path | None

    def check(self) -> None:
        """Find out whether workspaces can be made.

        Raises:
            WorkspaceUnusable: They cannot.
        """
        if self.template is not None and not self.template.is_dir():
            raise WorkspaceUnusable(f"the workspace template {self.template} is no folder")
        try:
            self.root.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            probe = self.root / _scratch_name()
            probe.mkdir(mode=_PRIVATE)
            probe.rmdir()
        except OSError as error:
            raise WorkspaceUnusable(
                f"cannot keep workspaces in {self.root}: {os.strerror(error.errno or 0)}"
            ) from error

    def open(self, owner: Owner) -> Folder:
        """The owner's workspace, made and seeded when it is used first. Blocks.

        Raises:
            OSError: It cannot be made or opened.
        """
        home = self.root / folder_name(owner.tenant_id) / folder_name(owner.user_id)
        if not home.is_dir():
            self._make(home)
        return Folder.at(home, best_opener())

    def _make(self, home: Path) -> None:
        """Fill a scratch folder and rename it, so that nobody ever sees half of a workspace."""
        home.parent.mkdir(mode=_PRIVATE, exist_ok=True)
        scratch = home.parent / _scratch_name()
        if self.template is None:
            scratch.mkdir(mode=_PRIVATE)
        else:
            shutil.copytree(self.template, scratch, symlinks=True)
            scratch.chmod(_PRIVATE)
        try:
            scratch.rename(home)
        except OSError:
            shutil.rmtree(scratch, ignore_errors=True)
            if not home.is_dir():  # Otherwise another call made it first.
                raise


def folder_name(identity: str) -> str:
    """A file name for an id, different for different ids, that no id can lead astray."""
    if _PLAIN_NAME.fullmatch(identity):
        return identity
    return f"~{hashlib.sha256(identity.encode()).hexdigest()}"


def _scratch_name() -> str:
    """No `folder_name` begins with a dot."""
    return f".new-{secrets.token_hex(8)}"
