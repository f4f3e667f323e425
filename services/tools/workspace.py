"""A folder of their own for every user of every tenant, and beneath it one for every conversation."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from services.rpc.errors import Overloaded
from services.tools.beneath import Folder, best_opener
from services.tools.errors import FileMissing, PathNotAllowed
from services.tools.room import Room, Usage, WorkspaceLimits, measure

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PRIVATE = 0o700


CONVERSATIONS = "conversations"
"""The folder of a user's workspace that holds those of conversations."""

LOCK_SECONDS = 10.0
_LOOK_SECONDS = 0.01


class WorkspaceUnusable(Exception):
    """The workspaces cannot be kept where the settings say; the message says why."""


@dataclass(frozen=True)
class Owner:
    """Whose workspace it is.

    Attributes:
        tenant_id: The tenant.
        user_id: The user within it.
        conversation_id: The conversation whose own folder it is; empty: the user's.
    """

    tenant_id: str
    user_id: str
    conversation_id: str = ""


@dataclass(frozen=True)
class Workspaces:
    """Where the workspaces are.

    Attributes:
        root: Holds a folder per tenant, and in it one per user.
        template: Copied into a fresh workspace; None leaves it empty.
        limits: How much all workspaces of one user may hold together.
    """

    root: Path
    template: Path | None
    limits: WorkspaceLimits = field(default_factory=WorkspaceLimits)

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
        """The owner's workspace for reading, made and seeded when it is used first. Blocks.

        Raises:
            OSError: It cannot be made or opened.
            Overloaded: Another call changes it for too long.
            PathNotAllowed: The user keeps a file where the conversation's folder should be.
            WorkspaceFull: The user has no room for the conversation's folder.
        """
        with self._home(owner) as home:
            return self._within(home, owner)

    @contextmanager
    def writing(self, owner: Owner) -> Iterator[Folder]:
        """The owner's workspace for changing it, within what its limits leave. Blocks.

        Nobody else changes any workspace of this user meanwhile. The lock goes
        with the process that holds it.

        Raises:
            OSError: It cannot be made or opened.
            Overloaded: Another call changes it for too long.
            PathNotAllowed: The user keeps a file where the conversation's folder should be.
            WorkspaceFull: The user has no room for the conversation's folder.
        """
        with self._home(owner) as home:
            _lock(home.descriptor)
            home.room = Room(self.limits, measure(home.descriptor, self.limits))
            with self._within(home, owner) as workspace:
                yield workspace

    def usage(self, owner: Owner) -> Usage:
        """How much the user's workspaces hold. Blocks."""
        with self._home(owner) as home:
            return measure(home.descriptor, self.limits)

    def _home(self, owner: Owner) -> Folder:
        """The user's workspace, which holds the conversations'."""
        home = self._path(owner)
        if not home.is_dir():
            self._make(home)
        return Folder.at(home, best_opener())

    def _within(self, home: Folder, owner: Owner) -> Folder:
        """The user's workspace itself, or the conversation's."""
        if not owner.conversation_id:
            return home.folder(".")
        path = f"{CONVERSATIONS}/{folder_name(owner.conversation_id)}"
        try:
            return home.folder(path)
        except FileMissing:
            self._make_within(home, self._path(owner) / path)
        return home.folder(path)

    def _make_within(self, home: Folder, place: Path) -> None:
        """Make a conversation's folder, if the user has room for it: whoever only reads makes one too."""
        _lock(home.descriptor)
        room = home.room or Room(self.limits, measure(home.descriptor, self.limits))
        seed = self._seed_size()
        room.take(seed.bytes, seed.entries + sum(not folder.is_dir() for folder in (place.parent, place)))
        try:
            self._make(place)
        except (FileExistsError, NotADirectoryError):
            raise PathNotAllowed(CONVERSATIONS, "a file stands where a folder should") from None

    def _seed_size(self) -> Usage:
        """How much a fresh workspace holds."""
        if self.template is None:
            return Usage(0, 0)
        with Folder.at(self.template, best_opener()) as template:
            return measure(template.descriptor, self.limits)

    def _path(self, owner: Owner) -> Path:
        return self.root / folder_name(owner.tenant_id) / folder_name(owner.user_id)

    def _make(self, home: Path) -> None:
        """Fill a scratch folder and rename it, so that nobody ever sees half of a workspace."""
        home.parent.mkdir(mode=_PRIVATE, exist_ok=True)
        with Folder.at(home.parent, best_opener()) as above:
            _lock(above.descriptor)  # A rename would replace what another call made, if that is empty.
            if home.is_dir():
                return
            scratch = home.parent / _scratch_name()
            try:
                self._seed(scratch)
                scratch.rename(home)
            except OSError:
                shutil.rmtree(scratch, ignore_errors=True)
                raise

    def _seed(self, scratch: Path) -> None:
        if self.template is None:
            scratch.mkdir(mode=_PRIVATE)
        else:
            shutil.copytree(self.template, scratch, symlinks=True)
            scratch.chmod(_PRIVATE)


def folder_name(identity: str) -> str:
    """A file name for an id, different for different ids, that no id can lead astray."""
    if _PLAIN_NAME.fullmatch(identity):
        return identity
    return f"~{hashlib.sha256(identity.encode()).hexdigest()}"


def _lock(descriptor: int) -> None:
    """Take the lock on a folder, which goes when the folder's last handle is closed.

    Raises:
        Overloaded: Another call holds it for too long.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Overloaded(
                    "Another call is changing the workspace; try again.", retry_after=timedelta(seconds=1)
                ) from None
            time.sleep(_LOOK_SECONDS)
        else:
            return


def _scratch_name() -> str:
    """No `folder_name` begins with a dot."""
    return f".new-{secrets.token_hex(8)}"
