"""Becomes a program after taking rights and limits from itself: `launch.py BYTES FOLDER PROGRAM ARGUMENT...`.

Run as a script by an isolated interpreter, so that it loads nothing of ours.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

MAX_OPEN_FILES = 1024
FAILED = 127

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def confine(memory_bytes: int) -> None:
    """Die with the service, gain no privileges, and take no more than is allowed.

    The limit is on data and not on addresses: some runtimes reserve far more than they use.
    """
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for what, limit in (
        (resource.RLIMIT_DATA, memory_bytes),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        bound = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (bound, bound))


def main(memory_bytes: int, folder: str, argv: list[str]) -> None:
    """Confine this process and become the program."""
    confine(memory_bytes)
    try:
        os.chdir(folder)
        os.execve(argv[0], argv, dict(os.environ))  # noqa: S606 - a list from the operator's settings
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(FAILED)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
