"""Ends the supervised processes when their supervisor is gone, however it went.

Run as a script with the supervisor's pipe as stdin. Each line is `+GROUP` or
`-GROUP`, a process group that began or ended. The kernel closes the pipe when
the supervisor ends, even by SIGKILL: what still runs then is told to end, and
made to after a while. Only the standard library, so that it stays small.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable

PATIENCE_SECONDS = 3.0
LOOK_SECONDS = 0.05


def main() -> None:
    """Follow the pipe to its end, then end what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end(follow(sys.stdin))


def follow(lines: Iterable[str]) -> set[int]:
    """The groups that began and have not ended by the last line."""
    groups: set[int] = set()
    for line in lines:
        change = groups.add if line[0] == "+" else groups.discard
        change(int(line[1:]))
    return groups


def end(groups: set[int]) -> None:
    """Tell the groups to end, and kill those that have not after `PATIENCE_SECONDS`."""
    _signal(groups, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(_lives(group) for group in groups) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    _signal(groups, signal.SIGKILL)


def _signal(groups: set[int], number: int) -> None:
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
