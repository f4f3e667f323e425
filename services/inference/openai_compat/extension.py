"""The extension `parley` of a body: what `Chat` and `Complete` take and OpenAI has no word for."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from google.protobuf import json_format

from parley.inference.v1 import chat_pb2
from services.inference.errors import ParameterInvalid, ParameterUnsupported
from services.inference.openai_compat.parameters import EXTENSION

FIELDS = (
    "approvals",
    "cache",
    "continue_conversation",
    "conversation_id",
    "limits",
    "max_event_delay",
    "server_tools",
)
OF_COMPLETIONS = ("cache", "max_event_delay")


def extended(given: Any, fields: Collection[str] = FIELDS) -> chat_pb2.ChatRequest:
    """A chat with what the extension says; its fields are those of `ChatRequest`, as JSON.

    Args:
        given: The extension.
        fields: Those that it may have.

    Raises:
        ParameterInvalid: It is no object, or a field of it is not what the contract says.
        ParameterUnsupported: It has a field that is set otherwise, or not at all.
    """
    request = chat_pb2.ChatRequest()
    if given is None:
        return request
    if not isinstance(given, dict):
        raise ParameterInvalid(EXTENSION, "it is no object")
    for name in given:
        if name not in fields:
            raise ParameterUnsupported(f"{EXTENSION}.{name}")
    try:
        json_format.ParseDict(given, request)
    except (json_format.ParseError, TypeError, ValueError) as error:
        raise ParameterInvalid(EXTENSION, str(error)) from None
    return request
