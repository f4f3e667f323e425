"""What a data tool works on: text in the call, or a file of the workspace."""

from __future__ import annotations

import os

from services.tools.catalogue import WorkerCall
from services.tools.errors import DataInvalid, DataTooLarge

MAX_DATA_CHARACTERS = 512 * 2**10
MAX_SOURCE_BYTES = 8 * 2**20


def read_source(call: WorkerCall, tool: str, text: str | None, file_path: str | None) -> str:
    """The text, or the UTF-8 text of the file.

    Raises:
        DataInvalid: The file is not UTF-8.
        DataTooLarge: The file is larger than data tools take.
        FileMissing: There is no such file.
        PathNotAllowed: The path leads out, or to no plain file.
    """
    if file_path is None:
        return text or ""
    data = read_whole(call, tool, file_path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataInvalid(tool, "text", f"{file_path} is not utf-8") from None


def read_whole(call: WorkerCall, tool: str, file_path: str, max_bytes: int = MAX_SOURCE_BYTES) -> bytes:
    """A file's bytes.

    Raises:
        DataTooLarge: There are more than `max_bytes`.
        FileMissing: There is no such file.
        PathNotAllowed: The path leads out, or to no plain file.
    """
    with call.workspaces.open(call.owner) as workspace, os.fdopen(workspace.file(file_path), "rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise DataTooLarge(tool, f"at most {max_bytes} bytes in a file")
    return data


def one_source(text: object, file_path: object) -> None:
    """For validators: exactly one of both is given.

    Raises:
        ValueError: None is, or both are.
    """
    if (text is None) is (file_path is None):
        raise ValueError("give either the data itself or a file_path")
