"""What the service and a worker process say to each other: frames over a pipe.

A frame is a kind (1 byte), a length (4 bytes, big-endian) and that many bytes.
The payload is text or JSON, never pickle: a worker may be lost to whatever it
worked on, and must not be able to run anything in the service.
"""

from __future__ import annotations

import json
import struct
from enum import Enum
from typing import Any, BinaryIO

HEADER = struct.Struct(">cI")
MAX_CALL_BYTES = 8 * 2**20


class FrameInvalid(Exception):
    """The other side does not keep to the protocol."""


class Kind(Enum):
    """What a frame says."""

    READY = b"+"
    """From the worker, once: it takes calls."""
    CALL = b"C"
    """To the worker: run this tool; JSON."""
    PROGRESS = b"P"
    """From the worker: JSON."""
    OUTPUT = b"O"
    """From the worker: text."""
    RESULT = b"R"
    """From the worker: the result's JSON text. Ends the call."""
    ERROR = b"E"
    """From the worker: a typed error as JSON. Ends the call."""
    CRASH = b"X"
    """From the worker: the traceback of a fault of the tool. Ends the call."""


def pack(kind: Kind, payload: bytes = b"") -> bytes:
    """A frame."""
    return HEADER.pack(kind.value, len(payload)) + payload


def pack_json(kind: Kind, value: Any) -> bytes:
    """A frame with JSON in it."""
    return pack(kind, json.dumps(value, separators=(",", ":")).encode())


def unpack_header(header: bytes, max_bytes: int) -> tuple[Kind, int]:
    """A frame's kind and length.

    Raises:
        FrameInvalid: The kind is unknown, or the frame longer than `max_bytes`.
    """
    kind, length = HEADER.unpack(header)
    if length > max_bytes:
        raise FrameInvalid(f"a frame of {length} bytes, where {max_bytes} may be")
    try:
        return Kind(kind), length
    except ValueError:
        raise FrameInvalid(f"a frame of the unknown kind {kind!r}") from None


def read(source: BinaryIO) -> tuple[Kind, bytes] | None:
    """The next frame, or None at the end. Blocks.

    Raises:
        FrameInvalid: The frame makes no sense, or is cut short.
    """
    header = source.read(HEADER.size)
    if not header:
        return None
    if len(header) < HEADER.size:
        raise FrameInvalid("a frame is cut short")
    kind, length = unpack_header(header, MAX_CALL_BYTES)
    payload = source.read(length)
    if len(payload) < length:
        raise FrameInvalid("a frame is cut short")
    return kind, payload
