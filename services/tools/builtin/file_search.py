"""Tools that look for things in the caller's workspace."""

from __future__ import annotations

import mimetypes
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Literal

import regex
from pydantic import Field

from services.tools.beneath import Folder
from services.tools.builtin.decoding import (
    MARK_BYTES,
    SAMPLE_BYTES,
    Codec,
    NotText,
    candidates,
    decode,
    read_pieces,
)
from services.tools.builtin.file import MAX_PATH_CHARACTERS, MAX_SCANNED, matches, walk
from services.tools.builtin.patterns import MAX_PATTERN_CHARACTERS, Matcher
from services.tools.catalogue import Arguments, Category, Example, SafetyLevel, ToolResult, WorkerCall, tool
from services.tools.errors import FileMissing, PathNotAllowed

DEFAULT_FOUND = 50
MAX_FOUND = 500
MAX_SEARCHED_BYTES = 64 * 2**20
MAX_SHOWN_CHARACTERS = 300
SEARCH_SECONDS = 5.0


class FileSearchArguments(Arguments):
    """What `file_search` takes."""

    query: str = Field(
        min_length=1,
        max_length=MAX_PATTERN_CHARACTERS,
        description="The text to look for, or with regex a regular expression, within single lines.",
        examples=["plants"],
    )
    directory: str = Field(
        ".",
        min_length=1,
        max_length=MAX_PATH_CHARACTERS,
        description="Folder to search with all below it, relative to the workspace.",
        examples=["notes"],
    )
    pattern: str = Field(
        "*",
        min_length=1,
        max_length=256,
        description="Only files whose names match, with * ? and [...].",
        examples=["*.txt"],
    )
    regex: bool = Field(False, description="Whether query is a regular expression.")
    ignore_case: bool = Field(False, description="Whether upper and lower case are the same.")
    limit: int = Field(DEFAULT_FOUND, ge=1, le=MAX_FOUND, description="Most lines to give.")


class FoundLine(ToolResult):
    """A line that matches."""

    file_path: str = Field(description="Its file, relative to the workspace.")
    line: int = Field(description="Its number, counted from 1.")
    text: str = Field(description=f"The line, cut to {MAX_SHOWN_CHARACTERS} characters.")


class FileSearchResult(ToolResult):
    """What `file_search` gives."""

    matches: list[FoundLine] = Field(description="The lines that match, by file.")
    searched_files: int = Field(description="Text files that were searched.")
    truncated: bool = Field(description="Whether there is more than is given or was searched.")


@tool(
    category=Category.FILE,
    safety=SafetyLevel.RESTRICTED,
    timeout_seconds=30,
    max_output_bytes=2**20,
    examples=(
        Example(
            "Find a word",
            {"query": "ada", "ignore_case": True},
            {
                "matches": [{"file_path": "notes/todo.txt", "line": 2, "text": "call Ada"}],
                "searched_files": 1,
                "truncated": False,
            },
            files={"notes/todo.txt": "water the plants\ncall Ada\n"},
        ),
    ),
)
def file_search(arguments: FileSearchArguments, call: WorkerCall) -> FileSearchResult:
    """Finds the lines with a text or a regular expression in the text files of the workspace."""
    query = arguments.query if arguments.regex else regex.escape(arguments.query)
    flags = regex.IGNORECASE if arguments.ignore_case else 0
    matcher = Matcher(query, "file_search", flags=flags, seconds=SEARCH_SECONDS)
    with call.workspaces.open(call.owner) as workspace:
        search = _Search(workspace, matcher)
        found = list(islice(search.lines(arguments.directory, arguments.pattern), arguments.limit + 1))
    return FileSearchResult(
        matches=found[: arguments.limit],
        searched_files=search.files,
        truncated=len(found) > arguments.limit or search.cut,
    )


class _Search:
    """A search, and how much it has looked at."""

    def __init__(self, workspace: Folder, matcher: Matcher) -> None:
        self._workspace = workspace
        self._matcher = matcher
        self._left = MAX_SEARCHED_BYTES
        self.files = 0
        self.cut = False

    def lines(self, directory: str, pattern: str) -> Iterator[FoundLine]:
        """The lines that match, file by file."""
        prefix = "" if directory == "." else directory.rstrip("/") + "/"
        with self._workspace.folder(directory) as folder:
            entries = list(islice(walk(folder, "", True), MAX_SCANNED + 1))
        self.cut = len(entries) > MAX_SCANNED
        files = [entry for entry in entries if not entry.is_folder and matches(entry.name, pattern)]
        for entry in sorted(files, key=lambda entry: entry.name):
            self._left -= entry.size_bytes
            if self._left < 0:
                self.cut = True
                return
            yield from self._file(prefix + entry.name)

    def _file(self, path: str) -> Iterator[FoundLine]:
        try:
            descriptor = self._workspace.file(path)
        except (FileMissing, PathNotAllowed):
            return  # It vanished, or became something else, since it was seen.
        try:
            codec, _ = find_codec(descriptor)
            self.files += 1
            line = 1
            for piece in read_pieces(descriptor, codec):
                text = piece.rstrip("\r\n")
                if found := self._matcher.search(text):
                    yield FoundLine(file_path=path, line=line, text=_around(text, found.start()))
                line += piece.endswith("\n")
        except NotText:
            return
        finally:
            os.close(descriptor)


def _around(text: str, position: int) -> str:
    start = max(0, min(position - MAX_SHOWN_CHARACTERS // 2, len(text) - MAX_SHOWN_CHARACTERS))
    return text[start : start + MAX_SHOWN_CHARACTERS]


def find_codec(descriptor: int) -> tuple[Codec, str]:
    """How a text file is written, and the beginning of its text.

    Raises:
        NotText: It is no text file.
    """
    head = os.pread(descriptor, SAMPLE_BYTES, 0)
    at_end = len(head) < SAMPLE_BYTES
    for codec in candidates("auto", head[:MARK_BYTES], lambda: head):
        try:
            return codec, decode(head, codec, at_start=True, at_end=at_end)
        except NotText:
            continue
    raise NotText("not text")


class FileInfoArguments(Arguments):
    """What `file_info` takes."""

    path: str = Field(
        min_length=1,
        max_length=MAX_PATH_CHARACTERS,
        description="Path of the file or folder, relative to the workspace.",
        examples=["notes/todo.txt"],
    )


class FileInfoResult(ToolResult):
    """What `file_info` gives."""

    path: str = Field(description="The path, as it was given.")
    type: Literal["file", "directory"]
    size_bytes: int = Field(description="Size of a file; 0 for a directory.")
    modified: str = Field(description="When it was changed last, in UTC (ISO 8601).")
    media_type: str | None = Field(None, description="What the file's name says it is.")
    encoding: str | None = Field(None, description="How the text of a text file is written.")


@tool(
    category=Category.FILE,
    safety=SafetyLevel.RESTRICTED,
    timeout_seconds=10,
    examples=(
        Example(
            "Look at a file",
            {"path": "data/points.csv"},
            {
                "path": "data/points.csv",
                "type": "file",
                "size_bytes": 8,
                "modified": "2026-11-23T15:04:05+00:00",
                "media_type": "text/csv",
                "encoding": "utf-8",
            },
            varies=True,
            files={"data/points.csv": "x,y\n1,2\n"},
        ),
    ),
)
def file_info(arguments: FileInfoArguments, call: WorkerCall) -> FileInfoResult:
    """Tells what is known of a file or folder of the workspace without giving its content."""
    with call.workspaces.open(call.owner) as workspace:
        status = workspace.status(arguments.path)
        is_folder = stat.S_ISDIR(status.st_mode)
        encoding = None if is_folder else _encoding(workspace, arguments.path)
    return FileInfoResult(
        path=arguments.path,
        type="directory" if is_folder else "file",
        size_bytes=0 if is_folder else status.st_size,
        modified=datetime.fromtimestamp(int(status.st_mtime), UTC).isoformat(),
        media_type=None if is_folder else mimetypes.guess_type(arguments.path)[0],
        encoding=encoding,
    )


def _encoding(workspace: Folder, path: str) -> str | None:
    descriptor = workspace.file(path)
    try:
        return find_codec(descriptor)[0].name
    except NotText:
        return None
    finally:
        os.close(descriptor)


TOOLS = (file_search, file_info)
