"""Between a workspace and a program: what the program finds, and what it leaves."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.tools.beneath import Folder, check_path
from services.tools.changing import make_folder, put, write_all
from services.tools.errors import DataTooLarge, FileMissing, PathNotAllowed
from services.tools.workspace import CONVERSATIONS, Owner, Workspaces

MAX_FILES = 512
MAX_BYTES = 32 * 2**20
MAX_DEPTH = 12
MAX_SEEN = 20_000


@dataclass
class _Cargo:
    """Files that go into a program's workspace, as long as they are not too many."""

    tool: str
    files: dict[str, bytes]
    bytes: int = 0
    seen: int = 0

    def see(self) -> None:
        """Count an entry that was looked at: paths may name the same folders over and over."""
        self.seen += 1
        if self.seen > MAX_SEEN:
            raise self._too_much()

    def add(self, folder: Folder, path: str) -> None:
        descriptor = folder.file(path)
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(MAX_BYTES - self.bytes + 1)
        self.bytes += len(content)
        if self.bytes > MAX_BYTES or len(self.files) >= MAX_FILES:
            raise self._too_much()
        self.files[path] = content

    def _too_much(self) -> DataTooLarge:
        limit = f"{MAX_FILES} files and {MAX_BYTES} bytes; name the files that the program needs"
        return DataTooLarge(self.tool, limit)


def take_in(tool: str, workspaces: Workspaces, owner: Owner, paths: Sequence[str] | None) -> dict[str, bytes]:
    """The files that a program is to find. Blocks.

    Args:
        tool: Who asks, for errors.
        workspaces: Where they are.
        owner: Whose they are.
        paths: Files and folders to take; None takes all, but for those of conversations.

    Raises:
        DataTooLarge: They are too many or too large.
        FileMissing: One is not there.
        PathNotAllowed: One leads out of the workspace.
    """
    cargo = _Cargo(tool, {})
    with workspaces.open(owner) as workspace:
        for path in ["."] if paths is None else paths:
            check_path(path)
            for found in _below(workspace, path, cargo):
                if paths is not None or not found.startswith(f"{CONVERSATIONS}/"):
                    cargo.add(workspace, found)
    return cargo.files


def _below(workspace: Folder, path: str, cargo: _Cargo, depth: int = 0) -> Iterator[str]:
    """The plain files at or below a path, with simple paths."""
    path = "/".join(part for part in path.split("/") if part not in ("", "."))
    try:
        folder = workspace.folder(path or ".")
    except FileMissing:
        yield path  # A file, or nothing: opening it tells.
        return
    with folder:
        entries = sorted(folder.entries(), key=lambda entry: entry.name)
    for entry in entries:
        cargo.see()
        below = f"{path}/{entry.name}" if path else entry.name
        if not entry.is_folder:
            yield below
        elif depth < MAX_DEPTH:
            yield from _below(workspace, below, cargo, depth + 1)


def put_back(workspaces: Workspaces, owner: Owner, files: Mapping[str, bytes]) -> list[str]:
    """Write what a program made or changed. Blocks.

    Returns:
        The paths that could not be written because something else stands there.

    Raises:
        WorkspaceFull: There is no room for one of them; those before it are written.
    """
    if not files:
        return []
    refused = []
    with workspaces.writing(owner) as workspace:
        for path, content in files.items():
            try:
                _write(workspace, path, content)
            except (PathNotAllowed, FileMissing):
                refused.append(path)
    return refused


def _write(workspace: Folder, path: str, content: bytes) -> None:
    above = path.rpartition("/")[0]
    if above:
        make_folder(workspace, above, parents=True)
    put(workspace, path, lambda made: write_all(made, content), replace=True)
