"""What can go wrong with a tool call; the reasons are those of `parley.tools.v1.ErrorReason`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from parley.tools.v1 import error_reason_pb2
from services.rpc.errors import FieldViolation, PolicyError, ServiceError

MAX_QUOTED_CHARACTERS = 100


def quoted(text: str) -> str:
    """What the caller sent, cut to what fits an error: statuses travel in headers of a few KiB."""
    return text if len(text) <= MAX_QUOTED_CHARACTERS else f"{text[:MAX_QUOTED_CHARACTERS]}…"


class ToolsError(ServiceError):
    """An error of the tools service."""

    reasons = error_reason_pb2.ErrorReason


class ToolNotFound(ToolsError):
    """The catalogue has no such tool."""

    reason = error_reason_pb2.ERROR_REASON_TOOL_NOT_FOUND

    def __init__(self, tool: str, nearest: str) -> None:
        hint = f" Did you mean {nearest}?" if nearest else ""
        super().__init__(f"There is no tool {tool}.{hint}", metadata={"tool": tool, "nearest": nearest})


class InvalidArguments(ToolsError):
    """The arguments are not JSON, or break the tool's schema."""

    reason = error_reason_pb2.ERROR_REASON_INVALID_ARGUMENTS

    def __init__(self, tool: str, message: str, violations: Sequence[FieldViolation] = ()) -> None:
        super().__init__(message, metadata={"tool": tool}, violations=violations)


class ToolFailed(ToolsError):
    """The tool ran and failed."""

    reason = error_reason_pb2.ERROR_REASON_TOOL_FAILED

    def __init__(self, tool: str, message: str) -> None:
        super().__init__(message, metadata={"tool": tool})


class ToolTimeout(ToolsError):
    """The tool took longer than it may."""

    reason = error_reason_pb2.ERROR_REASON_TOOL_TIMEOUT

    def __init__(self, tool: str, timeout_seconds: float) -> None:
        super().__init__(
            f"{tool} was stopped because it took longer than {timeout_seconds:g} s.",
            metadata={"tool": tool, "timeout_seconds": f"{timeout_seconds:g}"},
        )


class OutputTooLarge(ToolsError):
    """The result is larger than the tool may give."""

    reason = error_reason_pb2.ERROR_REASON_OUTPUT_TOO_LARGE

    def __init__(self, tool: str, limit_bytes: int) -> None:
        super().__init__(
            f"The output of {tool} is larger than {limit_bytes} bytes; ask for less.",
            metadata={"tool": tool, "limit_bytes": str(limit_bytes)},
        )


class ToolDisabled(ToolsError):
    """The tool is switched off on this machine."""

    reason = error_reason_pb2.ERROR_REASON_TOOL_DISABLED

    def __init__(self, tool: str, why: str) -> None:
        super().__init__(f"{tool} is switched off: {why}", metadata={"tool": tool})


class CallIdTaken(ToolsError):
    """Another call of the stream already has this id."""

    reason = error_reason_pb2.ERROR_REASON_CALL_ID_TAKEN

    def __init__(self, call_id: str) -> None:
        super().__init__(
            f"The stream already had a call {call_id}; give each call its own id.",
            metadata={"call_id": call_id},
        )


class FileMissing(ToolsError):
    """The workspace has no such file or folder."""

    reason = error_reason_pb2.ERROR_REASON_FILE_NOT_FOUND

    def __init__(self, path: str, kind: Literal["file", "folder"]) -> None:
        path = quoted(path)
        super().__init__(f"There is no {kind} {path} in the workspace.", metadata={"path": path})


class PathNotAllowed(ToolsError):
    """The path leads out of the workspace, or to something that is no plain file or folder."""

    reason = error_reason_pb2.ERROR_REASON_PATH_NOT_ALLOWED

    def __init__(self, path: str, why: str) -> None:
        path = quoted(path)
        super().__init__(f"The path {path!r} cannot be used: {why}.", metadata={"path": path})


class ExpressionInvalid(ToolsError):
    """The expression cannot be evaluated."""

    reason = error_reason_pb2.ERROR_REASON_EXPRESSION_INVALID

    def __init__(self, message: str, tool: str = "calculator") -> None:
        super().__init__(message, metadata={"tool": tool})


class TimezoneUnknown(ToolsError):
    """No time zone has this name."""

    reason = error_reason_pb2.ERROR_REASON_TIMEZONE_UNKNOWN

    def __init__(self, timezone: str, nearest: str) -> None:
        hint = f" Did you mean {nearest}?" if nearest else " Use a city or an IANA name like Asia/Seoul."
        super().__init__(
            f"No time zone is called {timezone}.{hint}", metadata={"timezone": timezone, "nearest": nearest}
        )


class WorkspaceFull(ToolsError):
    """The workspace has no room for that."""

    reason = error_reason_pb2.ERROR_REASON_WORKSPACE_FULL

    def __init__(self, limit_bytes: int, limit_entries: int) -> None:
        super().__init__(
            f"The workspace is full: it may hold {limit_bytes} bytes in {limit_entries} files and folders,"
            " those of all conversations together. Delete something.",
            metadata={"limit_bytes": str(limit_bytes), "limit_entries": str(limit_entries)},
        )


class ProgramLimitReached(ToolsError):
    """The program was ended because it took more than it may."""

    reason = error_reason_pb2.ERROR_REASON_PROGRAM_LIMIT_REACHED

    def __init__(self, tool: str, limit: str, allowed: str) -> None:
        super().__init__(
            f"The program was ended: it took more than its limit of {allowed} ({limit}).",
            metadata={"tool": tool, "limit": limit},
        )


class VariableNotShown(ToolsError):
    """The environment variable is not one that the operator shows."""

    reason = error_reason_pb2.ERROR_REASON_VARIABLE_NOT_SHOWN

    def __init__(self, name: str, shown: Sequence[str]) -> None:
        name = quoted(name)
        hint = f"Shown are {', '.join(shown)}" if shown else "None are shown"
        super().__init__(f"The variable {name} is not shown here. {hint}.", metadata={"name": name})


class FileExists(ToolsError):
    """Something of this name is there already."""

    reason = error_reason_pb2.ERROR_REASON_FILE_EXISTS

    def __init__(self, path: str) -> None:
        path = quoted(path)
        super().__init__(f"{path} exists already; choose another name.", metadata={"path": path})


class FolderNotEmpty(ToolsError):
    """The folder holds something, and the call does not say that it may go too."""

    reason = error_reason_pb2.ERROR_REASON_FOLDER_NOT_EMPTY

    def __init__(self, path: str) -> None:
        path = quoted(path)
        super().__init__(
            f"The folder {path} is not empty; say recursive to delete all that is in it.",
            metadata={"path": path},
        )


class PatchRejected(ToolsError):
    """The patch is no unified diff, or does not fit the file."""

    reason = error_reason_pb2.ERROR_REASON_PATCH_REJECTED

    def __init__(self, path: str, why: str, line: int | None = None) -> None:
        path = quoted(path)
        super().__init__(
            f"The patch cannot be applied to {path}: {why}.",
            metadata={"path": path, "line": str(line or "")},
        )


class PatternInvalid(ToolsError):
    """The regular expression is none."""

    reason = error_reason_pb2.ERROR_REASON_PATTERN_INVALID

    def __init__(self, tool: str, why: str) -> None:
        super().__init__(f"The pattern is no regular expression: {quoted(why)}.", metadata={"tool": tool})


class PatternTooSlow(ToolsError):
    """Matching took longer than it may."""

    reason = error_reason_pb2.ERROR_REASON_PATTERN_TOO_SLOW

    def __init__(self, tool: str, timeout_seconds: float) -> None:
        super().__init__(
            f"Matching took longer than {timeout_seconds:g} s; use a simpler pattern or less text.",
            metadata={"tool": tool, "timeout_seconds": f"{timeout_seconds:g}"},
        )


class DataInvalid(ToolsError):
    """The data is not what its format promises."""

    reason = error_reason_pb2.ERROR_REASON_DATA_INVALID

    def __init__(self, tool: str, data_format: str, why: str) -> None:
        super().__init__(
            f"The data is not valid {data_format}: {quoted(why)}.",
            metadata={"tool": tool, "format": data_format},
        )


class DataTooLarge(ToolsError):
    """The data is larger than the tool takes."""

    reason = error_reason_pb2.ERROR_REASON_DATA_TOO_LARGE

    def __init__(self, tool: str, limit: str) -> None:
        super().__init__(
            f"The data is larger than {tool} takes: {limit}.", metadata={"tool": tool, "limit": limit}
        )


class ModelRefused(ToolsError):
    """The model that the tool asked did not answer."""

    reason = error_reason_pb2.ERROR_REASON_MODEL_REFUSED

    def __init__(self, tool: str, cause: str, why: str) -> None:
        super().__init__(f"The model did not answer: {why}", metadata={"tool": tool, "cause": cause})


class QueryInvalid(ToolsError):
    """The query is not valid, or asks for what queries may not."""

    reason = error_reason_pb2.ERROR_REASON_QUERY_INVALID

    def __init__(self, tool: str, why: str) -> None:
        super().__init__(f"The query cannot be answered: {why}", metadata={"tool": tool})


def dismantled(error: ServiceError) -> dict[str, Any]:
    """What another process of this service makes the same error from."""
    return {
        "domain": error.domain(),
        "reason": error.reason,
        "message": error.message,
        "metadata": error.metadata,
        "retry_seconds": error.retry_after.total_seconds() if error.retry_after else None,
    }


def rebuild(
    domain: str, reason: int, message: str, metadata: Mapping[str, str], retry_seconds: float | None
) -> ServiceError:
    """The error that another process of this service raised.

    Raises:
        KeyError: No error has this reason.
        ValueError: The metadata is not what the reason promises.
    """
    # Looked up now: rooms of the house define errors of their own.
    errors = (*ToolsError.__subclasses__(), *PolicyError.__subclasses__())
    known = {(error.domain(), error.reason): error for error in errors if hasattr(error, "reason")}
    kind = known[domain, reason]
    error = kind.__new__(kind)
    retry_after = timedelta(seconds=retry_seconds) if retry_seconds else None
    ServiceError.__init__(error, message, metadata=metadata, retry_after=retry_after)
    return error
