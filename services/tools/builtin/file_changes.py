"""Tools that change the caller's workspace."""

from __future__ import annotations

import hashlib
import os
from typing import Any, Literal

from pydantic import Field, model_validator

from services.tools.beneath import Folder
from services.tools.builtin.file import MAX_PATH_CHARACTERS
from services.tools.builtin.patching import apply_patch
from services.tools.catalogue import Arguments, Category, Example, SafetyLevel, ToolResult, WorkerCall, tool
from services.tools.changing import append, copy_file, make_folder, move, put, remove, write_all
from services.tools.errors import DataTooLarge, ToolFailed

MAX_CONTENT_CHARACTERS = 512 * 2**10
MAX_PATCHED_BYTES = 4 * 2**20
_HASHED_BYTES = 2**20

WriteEncoding = Literal["utf-8", "utf-16", "windows-1252", "iso-8859-1"]
Operation = Literal["copy", "move", "delete", "mkdir", "checksum"]
Algorithm = Literal["md5", "sha1", "sha256", "sha512"]


class FileWriteArguments(Arguments):
    """What `file_write` takes."""

    file_path: str = Field(
        min_length=1,
        max_length=MAX_PATH_CHARACTERS,
        description="Path of the file, relative to the workspace.",
        examples=["notes/idea.txt"],
    )
    content: str = Field(
        max_length=MAX_CONTENT_CHARACTERS, description="The text.", examples=["Buy a watering can.\n"]
    )
    mode: Literal["w", "a", "x"] = Field(
        "w", description="w replaces the file, a appends to it, x refuses if there is one."
    )
    encoding: WriteEncoding = Field("utf-8", description="How to write the text.")
    make_folders: bool = Field(False, description="Whether to make missing folders of the path.")


class FileWriteResult(ToolResult):
    """What `file_write` gives."""

    file_path: str = Field(description="The path, as it was given.")
    written_bytes: int = Field(description="Bytes that were written.")
    total_bytes: int = Field(description="Size of the file now, in bytes.")


@tool(
    category=Category.FILE,
    safety=SafetyLevel.RESTRICTED,
    timeout_seconds=20,
    idempotent=False,
    examples=(
        Example(
            "Write a note",
            {"file_path": "notes/idea.txt", "content": "Buy a watering can.\n", "make_folders": True},
            {"file_path": "notes/idea.txt", "written_bytes": 20, "total_bytes": 20},
        ),
        Example(
            "Add a line to it",
            {"file_path": "notes/idea.txt", "content": "And seeds.\n", "mode": "a"},
            {"file_path": "notes/idea.txt", "written_bytes": 11, "total_bytes": 31},
            files={"notes/idea.txt": "Buy a watering can.\n"},
        ),
    ),
)
def file_write(arguments: FileWriteArguments, call: WorkerCall) -> FileWriteResult:
    """Writes a text file of the workspace: whole or not at all."""
    path, data = arguments.file_path, _encoded(arguments)
    with call.workspaces.writing(call.owner) as workspace:
        above = path.rpartition("/")[0]
        if arguments.make_folders and above:
            make_folder(workspace, above, parents=True)
        if arguments.mode == "a":
            append(workspace, path, data)
        else:
            put(workspace, path, lambda made: write_all(made, data), replace=arguments.mode == "w")
        total = workspace.status(path).st_size
    return FileWriteResult(file_path=path, written_bytes=len(data), total_bytes=total)


def _encoded(arguments: FileWriteArguments) -> bytes:
    try:
        return arguments.content.encode(arguments.encoding)
    except UnicodeEncodeError as error:
        character = arguments.content[error.start]
        raise ToolFailed(
            "file_write", f"{arguments.encoding} has no character {character!r}; write utf-8."
        ) from None


class FilePatchArguments(Arguments):
    """What `file_patch` takes."""

    file_path: str = Field(
        min_length=1,
        max_length=MAX_PATH_CHARACTERS,
        description="Path of the UTF-8 text file, relative to the workspace.",
        examples=["notes/todo.txt"],
    )
    patch: str = Field(
        min_length=1,
        max_length=MAX_CONTENT_CHARACTERS,
        description="A unified diff of this one file, in hunks with @@ lines; it may lack --- and +++ lines.",
        examples=["@@ -1 +1 @@\n-water the plants\n+water the roses\n"],
    )
    dry_run: bool = Field(False, description="Only say whether it fits, and change nothing.")


class FilePatchResult(ToolResult):
    """What `file_patch` gives."""

    file_path: str = Field(description="The path, as it was given.")
    hunks: int = Field(description="Hunks that were applied.")
    added_lines: int
    removed_lines: int
    total_bytes: int = Field(description="Size of the file after it, in bytes.")


@tool(
    category=Category.FILE,
    safety=SafetyLevel.RESTRICTED,
    timeout_seconds=20,
    idempotent=False,
    examples=(
        Example(
            "Change a line",
            {
                "file_path": "notes/todo.txt",
                "patch": "@@ -1,2 +1,2 @@\n-water the plants\n+water the roses\n call Ada\n",
            },
            {
                "file_path": "notes/todo.txt",
                "hunks": 1,
                "added_lines": 1,
                "removed_lines": 1,
                "total_bytes": 25,
            },
            files={"notes/todo.txt": "water the plants\ncall Ada\n"},
        ),
    ),
)
def file_patch(arguments: FilePatchArguments, call: WorkerCall) -> FilePatchResult:
    """Applies a unified diff to a text file of the workspace: all of it or nothing."""
    path = arguments.file_path
    with call.workspaces.writing(call.owner) as workspace:
        patched = apply_patch(_text(workspace, path), arguments.patch, path)
        data = patched.text.encode()
        if not arguments.dry_run:
            put(workspace, path, lambda made: write_all(made, data), replace=True)
    return FilePatchResult(
        file_path=path,
        hunks=patched.hunks,
        added_lines=patched.added,
        removed_lines=patched.removed,
        total_bytes=len(data),
    )


def _text(workspace: Folder, path: str) -> str:
    """The whole of a UTF-8 text file."""
    with os.fdopen(workspace.file(path), "rb") as file:
        data = file.read(MAX_PATCHED_BYTES + 1)
    if len(data) > MAX_PATCHED_BYTES:
        raise DataTooLarge("file_patch", f"at most {MAX_PATCHED_BYTES} bytes in a file")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ToolFailed("file_patch", f"{path} is not utf-8 text.") from None


class FileManageArguments(Arguments):
    """What `file_manage` takes."""

    operation: Operation = Field(
        description="copy a file, move a file or folder, delete one, mkdir, or checksum of a file.",
        examples=["copy"],
    )
    path: str = Field(
        min_length=1,
        max_length=MAX_PATH_CHARACTERS,
        description="Path of the file or folder, relative to the workspace.",
        examples=["notes/todo.txt"],
    )
    destination: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_PATH_CHARACTERS,
        description="The new path; for copy and move.",
        examples=["notes/done.txt"],
    )
    overwrite: bool = Field(False, description="Whether copy and move may replace a file.")
    recursive: bool = Field(
        False,
        description="Whether delete takes a folder with all that is in it, and mkdir the folders above.",
    )
    algorithm: Algorithm = Field("sha256", description="The checksum's.")

    @model_validator(mode="after")
    def _destination(self) -> FileManageArguments:
        if (self.destination is None) is (self.operation in ("copy", "move")):
            raise ValueError("copy and move need a destination, the others take none")
        return self


class FileManageResult(ToolResult):
    """What `file_manage` gives."""

    operation: Operation
    path: str = Field(description="The path, as it was given.")
    destination: str | None = Field(None, description="The new path, as it was given.")
    size_bytes: int | None = Field(None, description="Size of the copied or summed file.")
    algorithm: Algorithm | None = None
    checksum: str | None = Field(None, description="The checksum in hexadecimal digits.")


@tool(
    category=Category.FILE,
    safety=SafetyLevel.RESTRICTED,
    timeout_seconds=30,
    idempotent=False,
    examples=(
        Example(
            "Copy a file",
            {"operation": "copy", "path": "notes/todo.txt", "destination": "notes/old.txt"},
            {"operation": "copy", "path": "notes/todo.txt", "destination": "notes/old.txt", "size_bytes": 17},
            files={"notes/todo.txt": "water the plants\n"},
        ),
        Example(
            "Tell whether it changed",
            {"operation": "checksum", "path": "notes/todo.txt", "algorithm": "md5"},
            {
                "operation": "checksum",
                "path": "notes/todo.txt",
                "size_bytes": 17,
                "algorithm": "md5",
                "checksum": hashlib.md5(b"water the plants\n", usedforsecurity=False).hexdigest(),
            },
            files={"notes/todo.txt": "water the plants\n"},
        ),
        Example(
            "Delete a folder with all that is in it",
            {"operation": "delete", "path": "old", "recursive": True},
            {"operation": "delete", "path": "old"},
            files={"old/a.txt": "a"},
        ),
    ),
)
def file_manage(arguments: FileManageArguments, call: WorkerCall) -> FileManageResult:
    """Copies, moves and deletes files of the workspace, makes folders, and computes checksums."""
    with call.workspaces.writing(call.owner) as workspace:
        found = _manage(workspace, arguments)
    return FileManageResult(
        operation=arguments.operation, path=arguments.path, destination=arguments.destination, **found
    )


def _manage(workspace: Folder, arguments: FileManageArguments) -> dict[str, Any]:
    path, destination = arguments.path, arguments.destination or ""
    match arguments.operation:
        case "copy":
            copy_file(workspace, path, destination, replace=arguments.overwrite)
            return {"size_bytes": workspace.status(destination).st_size}
        case "move":
            move(workspace, path, destination, replace=arguments.overwrite)
        case "delete":
            remove(workspace, path, recursive=arguments.recursive)
        case "mkdir":
            make_folder(workspace, path, parents=arguments.recursive)
        case "checksum":
            return _checksum(workspace, path, arguments.algorithm)
    return {}


def _checksum(workspace: Folder, path: str, algorithm: Algorithm) -> dict[str, Any]:
    summed = hashlib.new(algorithm, usedforsecurity=False)
    size = 0
    with os.fdopen(workspace.file(path), "rb") as file:
        while piece := file.read(_HASHED_BYTES):
            summed.update(piece)
            size += len(piece)
    return {"size_bytes": size, "algorithm": algorithm, "checksum": summed.hexdigest()}


TOOLS = (file_write, file_patch, file_manage)
