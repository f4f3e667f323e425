"""Which tests a worker runs together, and in what order; `tests/run.sh` runs several workers."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling

# What is tested on one platform that the whole folder shares; each first, as it takes longest.
SHARED_PLATFORMS = ("e2e", "edge", "attacks", "web")
# They load the real engine, as `e2e` does: two at once on the same cores take many times as long as in turn.
REAL_ENGINE = frozenset(
    {
        "tests/cli/bench/test_chat.py",
        "tests/inference/test_process.py",
        "tests/inference/vllm/test_embedder.py",
        "tests/inference/vllm/test_engine_calls_and_forms.py",
        "tests/inference/vllm/test_engine.py",
    }
)


def group(test_id: str) -> str:
    """What stays on one worker: a folder that shares a platform, what loads the real engine, else a file."""
    file = test_id.partition("::")[0]
    if file in REAL_ENGINE or file.startswith("tests/faults/"):
        return "e2e"
    folder = PurePosixPath(file).parts[1]
    return folder if folder in SHARED_PLATFORMS else file


def turn(test_id: str) -> int:
    """When a test's group begins; those that share no platform come last, in the order they were found."""
    found = group(test_id)
    return SHARED_PLATFORMS.index(found) if found in SHARED_PLATFORMS else len(SHARED_PLATFORMS)


class GroupScheduling(LoadScopeScheduling):
    """Gives each worker group after group, in the order of the first test of each."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)
