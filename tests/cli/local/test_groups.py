import os
import signal
import subprocess
import sys

from cli.local import guard
from cli.local.groups import ProcessGroups, guarded_groups

WAITS = "import signal; print('up', flush=True); signal.pause()"


def child(script: str = WAITS) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.stdout.close()
    return process


def test_the_guard_knows_which_groups_are_left() -> None:
    assert guard.follow(["+1\n", "+2\n", "-1\n", "+3\n", "-9\n"]) == {2, 3}


def test_the_guard_tells_a_group_to_end() -> None:
    process = child()
    guard.end({process.pid})
    assert process.wait(10) in (-signal.SIGTERM, -signal.SIGKILL)


def test_groups_that_are_gone_already_are_fine() -> None:
    process = child()
    process.kill()
    process.wait(10)
    with guarded_groups() as groups:
        groups.began(process.pid)
        groups.kill(process.pid)
    guard.end({process.pid})
    assert process.returncode == -signal.SIGKILL


def test_a_lost_guard_does_not_stop_an_orderly_end() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = child()
    with os.fdopen(writing, "wb", buffering=0) as pipe:
        groups = ProcessGroups(pipe)
        groups.began(process.pid)
        groups.kill(process.pid)
    assert process.wait(10) == -signal.SIGKILL
