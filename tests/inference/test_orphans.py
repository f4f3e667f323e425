from __future__ import annotations

import asyncio
import multiprocessing
import sys
import threading
from importlib.metadata import entry_points
from pathlib import Path

import psutil

from services.inference.orphans import end_with_parent

PARENT = """
import multiprocessing
import os
import threading

from services.inference.orphans import end_with_parent


def child():
    end_with_parent()
    print(os.getpid(), flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=child)
    process.start()
    process.join()
"""


async def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = await asyncio.create_subprocess_exec(sys.executable, script, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(await asyncio.wait_for(parent.stdout.readline(), 60)))
    parent.kill()
    _, alive = await asyncio.to_thread(psutil.wait_procs, [child], 30)
    assert alive == []
    await parent.wait()


def test_a_main_process_watches_nobody() -> None:
    assert multiprocessing.parent_process() is None
    before = threading.active_count()
    end_with_parent()
    assert threading.active_count() == before


def test_vllm_is_told_of_it() -> None:
    plugins = {entry.name: entry.value for entry in entry_points(group="vllm.general_plugins")}
    assert plugins["parley"] == "services.inference.orphans:end_with_parent"
