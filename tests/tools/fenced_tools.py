"""A tool that tries what a parser that is lost to its data would try."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from services.tools.catalogue import Arguments, Category, SafetyLevel, ToolResult, WorkerCall, tool


class Attempts(Arguments):
    read: list[str] = Field(default_factory=list)
    write: list[str] = Field(default_factory=list)
    dial: list[int] = Field(default_factory=list)
    signal: list[int] = Field(default_factory=list)


class Met(ToolResult):
    errors: list[str]


@tool(category=Category.UTILITY, safety=SafetyLevel.SAFE, timeout_seconds=30)
def reaching(arguments: Attempts, _call: WorkerCall) -> Met:
    """Tries to get out; what each attempt met, empty where it went well."""
    attempts = (
        *((read, path) for path in arguments.read),
        *((write, path) for path in arguments.write),
        *((dial, port) for port in arguments.dial),
        *((signal, pid) for pid in arguments.signal),
    )
    return Met(errors=[met(attempt, what) for attempt, what in attempts])


def met(attempt: Callable[..., object], what: object) -> str:
    try:
        attempt(what)
    except OSError as error:
        return type(error).__name__
    return ""


def read(path: str) -> None:
    Path(path).read_bytes()


def write(path: str) -> None:
    Path(path).write_bytes(b"stolen")


def dial(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), 5).close()


def signal(pid: int) -> None:
    os.kill(pid, 0)
