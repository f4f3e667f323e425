"""What a worker process may reach: its tools' code, workspaces, SQL files, and nothing else of the machine.

A worker runs our own code on what strangers wrote: pages, tables, archives,
databases, patterns. Should one of the parsers be lost to them, it finds neither
the service's key nor anybody to send it to. The kernel holds it there (Landlock).
"""

from __future__ import annotations

import mimetypes
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from services.tools.beneath import best_opener
from services.tools.sandbox.policy import DEVICES, LIBRARIES
from services.tools.sandbox.stage import (
    MOVE,
    READ,
    READ_AND_CHANGE,
    USE_FILE,
    landlock_version,
    restrict_paths,
)

_MACHINE = (
    *("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo"),
    *map(str, mimetypes.knownfiles),
    # DuckDB looks how many processors and how much memory there are.
    *("/sys/fs/cgroup", "/sys/devices/system"),
)


@dataclass(frozen=True)
class Fence:
    """What is within reach beside the code of tools.

    Attributes:
        changed: Folders that may be read and changed.
        read: Folders and files that may be read.
    """

    changed: tuple[str, ...]
    read: tuple[str, ...] = ()


def why_no_fence() -> str:
    """Why this machine cannot hold a worker within a fence; empty where it can."""
    try:
        landlock_version()
    except OSError as error:
        return f"Landlock: {error.strerror}"
    return ""


def put_up(fence: Fence) -> None:
    """Hold this process, which has loaded its tools, within the fence for ever.

    No TCP and no signal to others gets out either, where the kernel can tell
    (Linux 6.7 and 6.12).

    Raises:
        OSError: The kernel does not play along.
    """
    best_opener()  # It looks at the root folder, once.
    reached = dict.fromkeys((*_code(), *LIBRARIES, *_MACHINE, f"/proc/{os.getpid()}", *fence.read), READ)
    reached |= dict.fromkeys(DEVICES, USE_FILE)
    reached |= dict.fromkeys(fence.changed, READ_AND_CHANGE | MOVE)
    restrict_paths({path: access for path, access in reached.items() if os.path.exists(path)})  # noqa: PTH110


def _code() -> Iterator[str]:
    """Where the interpreter is, and each package that is loaded: what it loads later lies beside."""
    yield from (sys.prefix, sys.base_prefix)
    for name in {name.partition(".")[0] for name in sys.modules}:
        module = sys.modules.get(name)
        yield from getattr(module, "__path__", ())
        if file := getattr(module, "__file__", None):
            yield file
