"""The process that runs tools which block or compute: `python -m services.tools.worker FENCE MODULE...`.

It takes one call at a time from standard input and writes what happens to
standard output. The service kills it when a call has to end early.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import signal
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from services.rpc.errors import ServiceError
from services.tools.catalogue import Tool, WorkerCall
from services.tools.errors import dismantled
from services.tools.events import Output, Report
from services.tools.fence import Fence, put_up
from services.tools.frames import Kind, pack, pack_json, read
from services.tools.room import WorkspaceLimits
from services.tools.workspace import Owner, Workspaces

MAX_MEMORY_BYTES = 2 * 2**30
MAX_OPEN_FILES = 256

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer calls until the source ends."""
    _write(sink, pack(Kind.READY))
    while (frame := read(source)) is not None:
        _write(sink, _answer(json.loads(frame[1]), sink))


def _answer(call: dict[str, Any], sink: BinaryIO) -> bytes:
    """Run one call; the last frame of it."""
    try:
        return pack(Kind.RESULT, _run(call, sink).encode())
    except ServiceError as error:
        return pack_json(Kind.ERROR, dismantled(error))
    except Exception:
        return pack(Kind.CRASH, traceback.format_exc().encode("utf-8", "replace"))


def _run(call: dict[str, Any], sink: BinaryIO) -> str:
    tool = find_tool(call["tool"])
    template = call["template"]

    def report(what: Report) -> None:
        if isinstance(what, Output):
            _write(sink, pack(Kind.OUTPUT, what.text.encode()))
        else:
            _write(sink, pack_json(Kind.PROGRESS, asdict(what)))

    limits = WorkspaceLimits(**call["limits"])
    workspaces = Workspaces(Path(call["root"]), Path(template) if template else None, limits)
    owner = Owner(call["tenant"], call["user"], call["conversation"])
    context = WorkerCall(owner, workspaces, report)
    result = tool.run(tool.arguments.model_validate_json(call["arguments"]), context)
    return tool.result.model_validate(result).to_json()


def find_tool(reference: str) -> Tool:
    """The tool at `module:name`.

    Raises:
        TypeError: What is there is no tool.
    """
    module, _, name = reference.partition(":")
    found = getattr(importlib.import_module(module), name)
    if not isinstance(found, Tool):
        raise TypeError(f"{reference} is no tool")
    return found


def _write(sink: BinaryIO, frame: bytes) -> None:
    sink.write(frame)
    sink.flush()


def _take_channel(descriptor: int, mode: str) -> BinaryIO:
    """Keep a standard stream for frames and give tools an empty one in its place."""
    channel = os.dup(descriptor)
    empty = os.open(os.devnull, os.O_RDWR)
    os.dup2(empty, descriptor)
    os.close(empty)
    return os.fdopen(channel, mode)  # type: ignore[return-value]


def _confine() -> None:
    """Die with the service, gain no privileges, and take no more than a share of the machine."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for what, limit in (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        bound = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (bound, bound))


def main(fence: str, modules: list[str]) -> None:
    """Confine the process, load the tools, and serve.

    Args:
        fence: What it may reach, as JSON; empty: whatever its user may.
        modules: Where the tools are.
    """
    _confine()
    source, sink = _take_channel(0, "rb"), _take_channel(1, "wb")
    for module in modules:
        importlib.import_module(module)
    if fence:
        put_up(Fence(**json.loads(fence)))
    serve(source, sink)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
