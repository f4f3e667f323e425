"""Tools that read the caller's workspace."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Literal

from pydantic import Field, model_validator

from services.tools.beneath import Entry, Folder
from services.tools.builtin.decoding import (
    MARK_BYTES,
    SAMPLE_BYTES,
    Codec,
    NotText,
    candidates,
    decode,
    read_pieces,
)
from services.tools.catalogue import Arguments, Category, Example, SafetyLevel, ToolResult, WorkerCall, tool
from services.tools.errors import FileMissing, PathNotAllowed, ToolFailed

MAX_PATH_CHARACTERS = 4096
DEFAULT_READ_BYTES = 64 * 2**10
MAX_READ_BYTES = 128 * 2**10
# A control character takes six bytes as JSON.
MAX_READ_OUTPUT_BYTES = 6 * MAX_READ_BYTES + 32 * 2**10

DEFAULT_LISTED = 200
MAX_LISTED = 1000
MAX_SCANNED = 20_000
MAX_DEPTH = 32
MAX_LIST_OUTPUT_BYTES = 2**20

Encoding = Literal[
    "auto",
    "utf-8",
    "utf-16-le",
    "utf-16-be",
    "utf-32-le",
    "utf-32-be",
    "windows-1252",
    "iso-8859-1",
    "windows-1250",
    "windows-1251",
    "windows-1253",
    "koi8-r",
    "cp932",
    "euc-jp",
    "gb18030",
    "big5",
    "euc-kr",
]
MAX_LINE = 2**31


class FileReadArguments(Arguments):
    """What `file_read` takes."""

    file_path: str = Field(
        min_length=1,
        max_length=MAX_PATH_CHARACTERS,
        description="Path of the file, relative to the workspace.",
        examples=["notes/todo.txt"],
    )
    offset: int = Field(0, ge=0, lt=2**63, description="Bytes to skip.")
    limit: int = Field(DEFAULT_READ_BYTES, ge=1, le=MAX_READ_BYTES, description="Most bytes to read.")
    encoding: Encoding = Field("auto", description="How the text is written; auto finds out.")
    start_line: int | None = Field(
        None, ge=1, le=MAX_LINE, description="First line to read, counted from 1; instead of offset."
    )
    end_line: int | None = Field(None, ge=1, le=MAX_LINE, description="Last line to read; default: the last.")

    @property
    def by_line(self) -> bool:
        """Whether lines are asked for, not bytes."""
        return self.start_line is not None or self.end_line is not None

    @model_validator(mode="after")
    def _one_range(self) -> FileReadArguments:
        if self.by_line and self.offset:
            raise ValueError("offset goes with neither start_line nor end_line")
        if self.end_line is not None and self.end_line < (self.start_line or 1):
            raise ValueError("end_line comes before start_line")
        return self


class FileReadResult(ToolResult):
    """What `file_read` gives."""

    file_path: str = Field(description="The path, as it was given.")
    content: str = Field(description="The text that was read.")
    encoding: str = Field(description="How the file is written.")
    total_bytes: int = Field(description="Size of the whole file, in bytes.")
    truncated: bool = Field(description="Whether the file goes on after what was read.")
    start_line: int | None = Field(None, description="The first line that was read, if lines were asked for.")
    end_line: int | None = Field(None, description="The last line that was read, if lines were asked for.")


@tool(
    category=Category.FILE,
    safety=SafetyLevel.RESTRICTED,
    timeout_seconds=10,
    max_output_bytes=MAX_READ_OUTPUT_BYTES,
    examples=(
        Example(
            "Read a file",
            {"file_path": "notes/todo.txt"},
            {
                "file_path": "notes/todo.txt",
                "content": "water the plants\ncall Ada\n",
                "encoding": "utf-8",
                "total_bytes": 26,
                "truncated": False,
            },
            files={"notes/todo.txt": "water the plants\ncall Ada\n"},
        ),
        Example(
            "Read its second line",
            {"file_path": "notes/todo.txt", "start_line": 2, "end_line": 2},
            {
                "file_path": "notes/todo.txt",
                "content": "call Ada\n",
                "encoding": "utf-8",
                "total_bytes": 26,
                "truncated": False,
                "start_line": 2,
                "end_line": 2,
            },
            files={"notes/todo.txt": "water the plants\ncall Ada\n"},
        ),
    ),
)
def file_read(arguments: FileReadArguments, call: WorkerCall) -> FileReadResult:
    """Reads a text file of the workspace, whole or in part."""
    with call.workspaces.open(call.owner) as workspace:
        descriptor = workspace.file(arguments.file_path)
    try:
        return _read(descriptor, arguments)
    except NotText as error:
        raise ToolFailed("file_read", f"{arguments.file_path} is {error}.") from None
    finally:
        os.close(descriptor)


def _read(descriptor: int, arguments: FileReadArguments) -> FileReadResult:
    read = _read_lines if arguments.by_line else _read_bytes
    failure = NotText("not text")
    head = os.pread(descriptor, MARK_BYTES, 0)
    for codec in candidates(arguments.encoding, head, lambda: os.pread(descriptor, SAMPLE_BYTES, 0)):
        try:
            return read(descriptor, codec, arguments)
        except NotText as error:
            failure = error
    raise failure


def _read_bytes(descriptor: int, codec: Codec, arguments: FileReadArguments) -> FileReadResult:
    total = os.fstat(descriptor).st_size
    start = arguments.offset - arguments.offset % codec.unit
    piece = os.pread(descriptor, arguments.limit, start)
    end = start + len(piece)
    return FileReadResult(
        file_path=arguments.file_path,
        content=decode(piece, codec, at_start=start == 0, at_end=end >= total),
        encoding=codec.name,
        total_bytes=total,
        truncated=end < total,
    )


def _read_lines(descriptor: int, codec: Codec, arguments: FileReadArguments) -> FileReadResult:
    first, last = arguments.start_line or 1, arguments.end_line or MAX_LINE
    taken: list[str] = []
    left, line, more = arguments.limit, 1, False
    for piece in read_pieces(descriptor, codec):
        left -= len(piece.encode()) if first <= line else 0
        if more := line > last or left < 0:
            break
        if first <= line:
            taken.append(piece)
        line += piece.endswith("\n")
    read_to = line if taken and not taken[-1].endswith("\n") else line - 1
    return FileReadResult(
        file_path=arguments.file_path,
        content="".join(taken),
        encoding=codec.name,
        total_bytes=os.fstat(descriptor).st_size,
        truncated=more,
        start_line=first,
        end_line=read_to if taken else first - 1,
    )


class FileListArguments(Arguments):
    """What `file_list` takes."""

    directory: str = Field(
        ".",
        min_length=1,
        max_length=MAX_PATH_CHARACTERS,
        description="Path of the folder, relative to the workspace.",
        examples=["notes"],
    )
    pattern: str = Field(
        "*",
        min_length=1,
        max_length=256,
        description="Only names that match, with * ? and [...]; with a / it is matched against the path.",
        examples=["*.csv"],
    )
    recursive: bool = Field(False, description="Whether to list the folders below, too.")
    limit: int = Field(DEFAULT_LISTED, ge=1, le=MAX_LISTED, description="Most entries to give.")


class FileListEntry(ToolResult):
    """A file or folder."""

    name: str = Field(description="Its path, relative to the folder that was listed.")
    type: Literal["file", "directory"]
    size_bytes: int = Field(description="Size of a file; 0 for a directory.")


class FileListResult(ToolResult):
    """What `file_list` gives."""

    directory: str = Field(description="The folder, as it was given.")
    total_entries: int = Field(description="Entries that match.")
    entries: list[FileListEntry] = Field(description="Those entries, by name.")
    truncated: bool = Field(description="Whether there are more than are given or were looked at.")


@tool(
    category=Category.FILE,
    safety=SafetyLevel.RESTRICTED,
    timeout_seconds=10,
    max_output_bytes=MAX_LIST_OUTPUT_BYTES,
    examples=(
        Example(
            "List the CSV files of a folder",
            {"directory": "data", "pattern": "*.csv"},
            {
                "directory": "data",
                "total_entries": 1,
                "entries": [{"name": "points.csv", "type": "file", "size_bytes": 8}],
                "truncated": False,
            },
            files={"data/points.csv": "x,y\n1,2\n", "data/about.txt": "Points."},
        ),
    ),
)
def file_list(arguments: FileListArguments, call: WorkerCall) -> FileListResult:
    """Lists the files and folders of the workspace, or of a folder in it."""
    with call.workspaces.open(call.owner) as workspace, workspace.folder(arguments.directory) as folder:
        found = list(islice(walk(folder, "", arguments.recursive), MAX_SCANNED + 1))
    matching = sorted(
        (entry for entry in found[:MAX_SCANNED] if matches(entry.name, arguments.pattern)),
        key=lambda entry: entry.name,
    )
    return FileListResult(
        directory=arguments.directory,
        total_entries=len(matching),
        entries=[_listed(entry) for entry in matching[: arguments.limit]],
        truncated=len(matching) > arguments.limit or len(found) > MAX_SCANNED,
    )


def walk(folder: Folder, prefix: str, recursive: bool, depth: int = 0) -> Iterator[Entry]:
    """What is in the folder, and below it if asked, with paths for names."""
    for entry in folder.entries():
        path = prefix + entry.name
        yield replace(entry, name=path)
        if entry.is_folder and recursive and depth < MAX_DEPTH:
            try:
                with folder.folder(entry.name) as below:
                    yield from walk(below, f"{path}/", recursive, depth + 1)
            except (FileMissing, PathNotAllowed):
                continue  # It vanished, or became something else, since it was seen.


def matches(path: str, pattern: str) -> bool:
    """Whether the path, or for a pattern without a / its last name, fits the pattern."""
    return fnmatch.fnmatchcase(path if "/" in pattern else path.rpartition("/")[2], pattern)


def _listed(entry: Entry) -> FileListEntry:
    kind: Literal["file", "directory"] = "directory" if entry.is_folder else "file"
    return FileListEntry(name=entry.name, type=kind, size_bytes=entry.size_bytes)


TOOLS = (file_read, file_list)
