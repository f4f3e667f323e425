"""What the checks of images and of Compose share."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.deploy.imports import ROOT

SIZES_MIB = {"store": 250, "auth": 250, "web": 250, "edge": 250, "tools": 350, "inference-cpu": 1536}
"""Compressed, at most. Issue 6 asks for those of auth, web and tools."""


@pytest.fixture(scope="session")
def sizes() -> dict[str, int]:
    """Builds the images, and gives their compressed sizes in MiB."""
    said = _build(*SIZES_MIB)
    print(said)
    return {name: int(size) for name, size in re.findall(r"/([\w-]+):\S+ +(\d+) MiB", said)}


@pytest.fixture(scope="session")
def images() -> None:
    """Builds the images."""
    _build("--no-sizes", *SIZES_MIB)


def _build(*arguments: str) -> str:
    built = subprocess.run(
        [ROOT / "deploy" / "docker" / "build.sh", *arguments], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return built.stdout
