"""Lets vLLM's processes not outlive the one that started them, even if it is killed.

Registered as a plugin of vLLM (`vllm.general_plugins` in pyproject.toml), which
runs it in each of its processes.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.process import BaseProcess


def end_with_parent() -> None:
    """End this process as soon as the one that started it is gone; in a main process, do nothing."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent,), name="end-with-parent", daemon=True).start()


def _watch(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
