"""Errors in OpenAI's shape.

The edge writes those that end a call (`deploy/envoy/openai.py` fills its script
from the tables here); this module writes those that end a stream, in band.
"""

from __future__ import annotations

from typing import Any

from google.rpc import code_pb2, error_details_pb2, status_pb2

from parley.inference.v1 import chat_pb2
from services.rpc.errors import (
    Cancelled,
    DeadlineExceeded,
    Overloaded,
    ServiceError,
    TokenRevoked,
    error_info,
)

TYPES = {
    code_pb2.INVALID_ARGUMENT: "invalid_request_error",
    code_pb2.FAILED_PRECONDITION: "invalid_request_error",
    code_pb2.OUT_OF_RANGE: "invalid_request_error",
    code_pb2.NOT_FOUND: "invalid_request_error",
    code_pb2.UNIMPLEMENTED: "invalid_request_error",
    code_pb2.UNAUTHENTICATED: "authentication_error",
    code_pb2.PERMISSION_DENIED: "permission_error",
    code_pb2.RESOURCE_EXHAUSTED: "rate_limit_error",
}
"""`error.type` by canonical code."""

OTHER_TYPE = "server_error"

CODES = {
    "BUDGET_EXHAUSTED": "insufficient_quota",
    "CONTEXT_OVERFLOW": "context_length_exceeded",
    "IMAGE_FORMAT_REFUSED": "unsupported_image_media_type",
    "IMAGE_NOT_INLINE": "invalid_image_url",
    "IMAGE_UNREADABLE": "image_parse_error",
    "MODEL_NOT_FOUND": "model_not_found",
    "PARAMETER_INVALID": "invalid_value",
    "PARAMETER_UNSUPPORTED": "unsupported_parameter",
    "RATE_LIMITED": "rate_limit_exceeded",
    "TOKEN_EXPIRED": "invalid_api_key",
    "TOKEN_INVALID": "invalid_api_key",
    "TOKEN_MISSING": "invalid_api_key",
    "TOKEN_REVOKED": "invalid_api_key",
}
"""`error.code` by reason, where OpenAI has a word of its own; else it is the reason in lower case."""

PARAMETERS = {
    "CLIENT_TOOL_INVALID": "tools",
    "CONTEXT_OVERFLOW": "messages",
    "DIMENSIONS_NOT_OFFERED": "dimensions",
    "IMAGE_FORMAT_REFUSED": "messages",
    "IMAGE_TOO_LARGE": "messages",
    "IMAGE_UNREADABLE": "messages",
    "MESSAGES_INVALID": "messages",
    "MODEL_NOT_FOUND": "model",
    "MODEL_NOT_READY": "model",
    "MODEL_OF_OTHER_KIND": "model",
    "NO_TOOL_TO_CALL": "tool_choice",
    "STRUCTURED_OUTPUT_INVALID": "response_format",
    "STRUCTURED_OUTPUT_TOO_COMPLEX": "response_format",
    "TOOL_NAME_TAKEN": "tools",
    "TOOL_NOT_OFFERED": "parley.server_tools",
    "TOO_MANY_IMAGES": "messages",
}
"""`error.param` by reason, where the error itself names none."""

PARAMETER_KEY = "parameter"


class RunFailed(Exception):
    """A run came to no answer, and no stream can tell so."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status


def error_object(status: status_pb2.Status) -> dict[str, Any]:
    """A status in OpenAI's shape."""
    info = error_info(status) or error_details_pb2.ErrorInfo()
    return {
        "error": {
            "message": status.message,
            "type": TYPES.get(status.code, OTHER_TYPE),
            "param": info.metadata.get(PARAMETER_KEY) or PARAMETERS.get(info.reason),
            "code": CODES.get(info.reason, info.reason.lower()) or None,
        }
    }


def cut_short(finished: chat_pb2.ChatFinished) -> status_pb2.Status | None:
    """Why a run did not come to an end that its caller can use; None where it did."""
    if finished.reason == chat_pb2.FINISH_REASON_ERROR:
        return finished.error
    error = _ENDS.get(finished.reason)
    return error().to_status() if error is not None else None


def _cancelled() -> ServiceError:
    return Cancelled("The run was cancelled.")


def _too_late() -> ServiceError:
    return DeadlineExceeded("The call's deadline came before the answer's end.")


def _too_slow() -> ServiceError:
    return Overloaded("The answer was read too slowly for too long.")


_ENDS = {
    chat_pb2.FINISH_REASON_CANCELLED: _cancelled,
    chat_pb2.FINISH_REASON_DEADLINE: _too_late,
    chat_pb2.FINISH_REASON_REVOKED: TokenRevoked,
    chat_pb2.FINISH_REASON_SLOW_READER: _too_slow,
}
