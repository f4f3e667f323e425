"""What a program is started with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from services.tools.mcp import launch

LOOK = """
import os, resource
status = open("/proc/self/status").read()
print("NoNewPrivs:\\t1" in status, os.getcwd(), sorted(set(os.environ) - {"LC_CTYPE"}))
print(resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE))
try:
    bytearray(10**9)
except MemoryError:
    print("no memory")
"""


def started(*argv: str, folder: str = "/") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", launch.__file__, str(256 * 2**20), folder, *argv]
    return subprocess.run(command, env={"KEY": "1"}, capture_output=True, text=True, check=False, timeout=60)


def test_a_program_has_its_folder_its_environment_and_limits(tmp_path: Path) -> None:
    done = started(sys.executable, "-c", LOOK, folder=str(tmp_path))
    assert done.stdout.splitlines() == [
        f"True {tmp_path} ['KEY']",
        f"({launch.MAX_OPEN_FILES}, {launch.MAX_OPEN_FILES}) (0, 0)",
        "no memory",
    ], done.stderr


def test_a_program_that_is_not_there_ends_at_once() -> None:
    done = started("/nonexistent/program")
    assert (done.returncode, done.stdout) == (launch.FAILED, "")
