"""Reads the JSON of requests strictly, and writes that of answers."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from typing import Any

import jiter
from google.api import httpbody_pb2

from services.inference.errors import BodyInvalid

JSON = "application/json"
EVENTS = "text/event-stream"
DONE = b"data: [DONE]\n\n"
# Far more than the contract's bounds leave room for; what reads bodies looks at each on the event loop.
MOST_STRUCTURES = 65_536


def read_object(data: bytes) -> dict[str, Any]:
    """The object that a body holds.

    A body that says one thing twice, or what JSON cannot say (NaN, lone
    surrogates, more than 200 levels), is refused: another reader may take it
    otherwise. Its size is bounded by that of a message, and how many objects and
    lists it has by itself: a body is read by far slower than it is sent.

    Raises:
        BodyInvalid: It is none.
    """
    try:
        value = jiter.from_json(data, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise BodyInvalid(f"it is not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise BodyInvalid("it is no JSON object")
    if _structures(value) > MOST_STRUCTURES:
        raise BodyInvalid(f"it has more than {MOST_STRUCTURES} objects and lists")
    return value


def _structures(value: dict[str, Any]) -> int:
    """How many objects and lists there are, this one included; or more than there may be."""
    waiting: deque[dict[str, Any] | list[Any]] = deque([value])
    found = 1
    while waiting and found <= MOST_STRUCTURES:
        within = waiting.popleft()
        inner = [each for each in _values(within) if isinstance(each, dict | list)]
        found += len(inner)
        waiting.extend(inner)
    return found


def _values(structure: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return structure.values() if isinstance(structure, dict) else structure


def write(value: Any) -> bytes:
    """Compact JSON.

    Raises:
        ValueError: The value has a number beyond what JSON has.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def whole(value: Any) -> httpbody_pb2.HttpBody:
    """An answer in one piece."""
    return httpbody_pb2.HttpBody(content_type=JSON, data=write(value))


def event(value: Any, name: str = "") -> bytes:
    """A server-sent event."""
    named = f"event: {name}\n".encode() if name else b""
    return b"%sdata: %s\n\n" % (named, write(value))


def piece(data: bytes) -> httpbody_pb2.HttpBody:
    """A part of a stream of server-sent events."""
    return httpbody_pb2.HttpBody(content_type=EVENTS, data=data)
