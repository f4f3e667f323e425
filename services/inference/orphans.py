"""Lets the engine's processes not outlive the service, even if it is killed."""

from __future__ import annotations

import os
import threading
import time

CHECK_SECONDS = 0.5


def end_with_parent() -> None:
    """End this process soon after its parent is gone.

    A thread asks who the parent is. `PR_SET_PDEATHSIG` would be cheaper, but it
    follows the thread that started the process, and that one ends after loading.
    """
    threading.Thread(target=_watch, args=(os.getppid(),), name="end-with-parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(CHECK_SECONDS)
    os._exit(1)
