"""What to tell a person about an error: what happened, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import grpc

from parley_client.errors import ParleyError

LOG_IN_AGAIN = frozenset({"TOKEN_MISSING", "TOKEN_EXPIRED", "TOKEN_INVALID", "REFRESH_TOKEN_INVALID"})
"""Reasons after which only a new login helps."""

_BY_REASON: Mapping[str, str] = {
    "CREDENTIALS_INVALID": "Check the user name and the password and try again.",
    "LOGIN_THROTTLED": "Wait a moment before you try again.",
    "PERMISSION_MISSING": "Ask an administrator for this permission.",
    "TOKEN_REVOKED": "Your rights have changed. Do it again with those that you have now.",
    "PASSWORD_WRONG": "Type your present password again.",  # pragma: allowlist secret
    "ETAG_MISMATCH": "Somebody else changed it meanwhile. Open it again and look.",
    "NAME_TAKEN": "Choose another name.",
    "GRANT_EXCEEDS_CALLER": "You can give only what you hold yourself.",
    "SCOPE_EXCEEDS_OWNER": "Leave out what the key's owner does not hold.",
    "LAST_ADMIN": "Make another administrator first.",
    "ROLE_IN_USE": "Take it away from everybody first.",
    "ROOT_TENANT_ONLY": "Ask an administrator of the platform's own tenant.",
    "PAGE_TOKEN_INVALID": "Go back to the first page.",
    "MODEL_NOT_FOUND": "Choose another model from the list.",
    "MODEL_NOT_READY": "It is still loading. Ask again in a moment.",
    "CONTEXT_OVERFLOW": "Start a new conversation, or ask for less at once.",
    "IMAGE_FORMAT_REFUSED": "Save it as a still picture in one of the formats that are taken.",
    "IMAGE_TOO_LARGE": "Make it smaller.",
    "IMAGE_UNREADABLE": "Open it in a program for pictures and save it again.",
    "TOO_MANY_IMAGES": "Start a new conversation, with fewer images.",
    "MODEL_LACKS": "Choose another model, or leave out what it lacks.",
    "MESSAGES_INVALID": "Start a new conversation.",
    "CONVERSATION_NOT_FOUND": "It was deleted, perhaps in another window. Start a new conversation.",
    "CONVERSATION_BUSY": "It is being answered elsewhere. Wait for the end of that, and ask again.",
    "CONVERSATION_FULL": "Start a new conversation, or branch from an earlier answer.",
    "TOO_MANY_CONVERSATIONS": "Delete some, or ask without storing.",
    "TOOL_NOT_OFFERED": "Reload the page to see the tools that you may use.",
    "ENGINE_FAILED": "What was said stands. Ask again in a moment.",
    "OUTPUT_UNPARSEABLE": "Ask again, or say it in other words.",
    "OVERLOADED": "Many people are asking. Try again in a moment.",
    "DRAINING": "Ask again; another replica will answer.",
    "DEPENDENCY_UNAVAILABLE": "A part of the platform is away. Try again in a moment.",
    "INTERNAL": "Tell the operators the request number.",
    "FILE_NOT_FOUND": "Look up the name with a list of the folder.",
    "FILE_EXISTS": "Choose another name, or say that the file may be replaced.",
    "INVALID_ARGUMENTS": "Correct the arguments.",
    "TOOL_NOT_FOUND": "Reload the page to see the tools that you may use.",
    "TOOL_DISABLED": "Ask an operator to make it work on this machine.",
    "TOOL_TIMEOUT": "Ask for less at once.",
    "OUTPUT_TOO_LARGE": "Ask for less at once, or have the result written to a file.",
    "WORKSPACE_FULL": "Delete what you no longer need from your workspace.",
    "PATH_NOT_ALLOWED": "Name a path within your workspace.",
    "ADDRESS_NOT_ALLOWED": "Ask an operator to open this address to tools.",
}

_BY_CODE: Mapping[grpc.StatusCode, str] = {
    grpc.StatusCode.UNAVAILABLE: "The platform did not answer. Try again in a moment.",
    grpc.StatusCode.DEADLINE_EXCEEDED: "It took too long. Try again, or ask for less.",
    grpc.StatusCode.UNAUTHENTICATED: "Log in again.",
    grpc.StatusCode.PERMISSION_DENIED: "Ask an administrator for access.",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "Wait a moment before you try again.",
}


@dataclass(frozen=True)
class Advice:
    """An error in a person's terms.

    Attributes:
        message: What happened.
        todo: What to do about it; may be empty.
        reason: The machine-readable reason or status, for a report.
        log_in: Whether only a new login helps.
    """

    message: str
    todo: str
    reason: str
    log_in: bool


def advise(error: ParleyError) -> Advice:
    """Put an error into a person's terms."""
    log_in = error.reason in LOG_IN_AGAIN or (
        not error.reason and error.code is grpc.StatusCode.UNAUTHENTICATED
    )
    message = "Your session has ended." if log_in else error.message
    reason = error.reason or error.code.name
    request_id = error.metadata.get("request_id")
    return Advice(message, _todo(error, log_in), f"{reason} · {request_id}" if request_id else reason, log_in)


def _todo(error: ParleyError, log_in: bool) -> str:
    """What to do about it."""
    if log_in:
        return "Log in again to go on."
    if error.violations:
        return " ".join(f"{violation.field}: {violation.description}." for violation in error.violations)
    todo = _BY_REASON.get(error.reason) or _BY_CODE.get(error.code, "")
    if error.retry_after is not None:
        return f"{todo} Try again in {error.retry_after.total_seconds():g} s.".strip()
    return todo


def alert(error: ParleyError) -> str:
    """An error as a box in the page."""
    advice = advise(error)
    todo = f"<p>{escape(advice.todo)}</p>" if advice.todo else ""
    link = '<p><a href="login">Log in</a></p>' if advice.log_in else ""
    return (
        '<div class="p-alert" role="alert">'
        f"<p><strong>{escape(advice.message)}</strong></p>{todo}{link}"
        f'<p class="p-reason">{escape(advice.reason)}</p></div>'
    )
