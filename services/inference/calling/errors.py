"""The errors of tools and their calls; `error_reason.proto` says what each means."""

from __future__ import annotations

from collections.abc import Iterable

from parley.inference.v1 import error_reason_pb2
from services.inference.errors import InferenceError


class ToolNotOffered(InferenceError):
    """A tool is not in the catalogue, or not for this caller or chat."""

    reason = error_reason_pb2.ERROR_REASON_TOOL_NOT_OFFERED

    def __init__(self, tool: str, offered: Iterable[str]) -> None:
        super().__init__(
            f"There is no tool {tool!r} here; there is {', '.join(sorted(offered)) or 'none'}.",
            metadata={"tool": tool},
        )


class CallNotWaiting(InferenceError):
    """No call of the run waits for the answer that came."""

    reason = error_reason_pb2.ERROR_REASON_CALL_NOT_WAITING

    def __init__(self, run_id: str, call_id: str) -> None:
        super().__init__(
            f"The run {run_id} has no call {call_id!r} that waits for this: it was answered, or it lapsed.",
            metadata={"run_id": run_id, "call_id": call_id},
        )


class ClientToolInvalid(InferenceError):
    """A tool of the client cannot be offered."""

    reason = error_reason_pb2.ERROR_REASON_CLIENT_TOOL_INVALID

    def __init__(self, tool: str, fault: str) -> None:
        super().__init__(
            f"The parameters_schema of the client tool {tool!r} cannot be used: {fault}.",
            metadata={"tool": tool},
        )


class ToolNameTaken(InferenceError):
    """A tool of the client has the name of another that is offered too."""

    reason = error_reason_pb2.ERROR_REASON_TOOL_NAME_TAKEN

    def __init__(self, tool: str) -> None:
        super().__init__(
            f"The platform offers a tool {tool!r}, too: rename the client's, or leave out the platform's.",
            metadata={"tool": tool},
        )


class ApprovalRequired(InferenceError):
    """A dangerous tool was called, and nobody is asked."""

    reason = error_reason_pb2.ERROR_REASON_APPROVAL_REQUIRED

    def __init__(self, tool: str) -> None:
        super().__init__(
            f"The tool {tool!r} needs somebody's approval, and nobody can be asked here. Do without it.",
            metadata={"tool": tool},
        )


class ApprovalDenied(InferenceError):
    """A call was denied."""

    reason = error_reason_pb2.ERROR_REASON_APPROVAL_DENIED

    def __init__(self, tool: str, note: str) -> None:
        said = f": {note}" if note else ""
        super().__init__(f"This call of {tool!r} was denied{said}", metadata={"tool": tool})


class ApprovalLapsed(InferenceError):
    """Nobody approved a call in time."""

    reason = error_reason_pb2.ERROR_REASON_APPROVAL_LAPSED

    def __init__(self, tool: str, seconds: float) -> None:
        super().__init__(
            f"Nobody approved this call of {tool!r} within {seconds:g} s, so it did not run.",
            metadata={"tool": tool, "timeout_seconds": f"{seconds:g}"},
        )


class ClientToolTimeout(InferenceError):
    """The client did not answer a call in time."""

    reason = error_reason_pb2.ERROR_REASON_CLIENT_TOOL_TIMEOUT

    def __init__(self, tool: str, seconds: float) -> None:
        super().__init__(
            f"The tool {tool!r} gave no answer within {seconds:g} s.",
            metadata={"tool": tool, "timeout_seconds": f"{seconds:g}"},
        )


class CallLost(InferenceError):
    """A call ran at a replica that was lost."""

    reason = error_reason_pb2.ERROR_REASON_CALL_LOST

    def __init__(self, tool: str) -> None:
        super().__init__(
            f"What the call of {tool!r} did is not known: who had it run was lost.", metadata={"tool": tool}
        )


class ClientToolFailed(InferenceError):
    """The client says that a call failed."""

    reason = error_reason_pb2.ERROR_REASON_CLIENT_TOOL_FAILED

    def __init__(self, tool: str, message: str) -> None:
        super().__init__(message, metadata={"tool": tool})


class ToolArgumentsRejected(InferenceError):
    """A tool was called with arguments that it does not take."""

    reason = error_reason_pb2.ERROR_REASON_TOOL_ARGUMENTS_REJECTED

    def __init__(self, tool: str, message: str) -> None:
        super().__init__(message, metadata={"tool": tool})


class NoToolToCall(InferenceError):
    """A call is asked for, and there is no tool."""

    reason = error_reason_pb2.ERROR_REASON_NO_TOOL_TO_CALL

    def __init__(self) -> None:
        super().__init__("tool_choice asks for a call, and there is no tool to call now.")
