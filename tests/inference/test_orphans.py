from __future__ import annotations

import asyncio
import sys

import psutil

PARENT = """
import subprocess
import sys
subprocess.Popen([sys.executable, "-c", sys.argv[1]]).wait()
"""
CHILD = """
import os
import threading

from services.inference.orphans import end_with_parent
end_with_parent()
print(os.getpid(), flush=True)
threading.Event().wait()
"""


async def test_a_child_ends_after_its_parent_was_killed() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PARENT,
        CHILD,
        stdout=asyncio.subprocess.PIPE,
    )
    assert parent.stdout is not None
    child = psutil.Process(int(await asyncio.wait_for(parent.stdout.readline(), 30)))
    assert child.is_running()
    parent.kill()
    await parent.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, [child], 30)
    assert alive == []
