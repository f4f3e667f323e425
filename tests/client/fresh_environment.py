"""The published wheel, built and installed where nothing is but what it says it needs."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[2] / "clients" / "python"


def build(folder: Path) -> Path:
    """The wheel, built into a folder."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """The interpreter of a fresh environment with the wheel and what it declares.

    That comes from the environment of the tests, so that no network is needed.
    """
    make = [sys.executable, "-m", "venv", "--without-pip", folder]
    subprocess.run(make, check=True, capture_output=True, timeout=120)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    unpack = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile", "--target"]
    subprocess.run([sys.executable, *unpack, packages, wheel], check=True, capture_output=True, timeout=120)
    (told,) = importlib.metadata.distributions(path=[str(packages)])
    for name in closure(told.requires or ()):
        link(importlib.metadata.distribution(name), packages)
    return folder / "bin" / "python"


def closure(requirements: list[str] | tuple[str, ...]) -> set[str]:
    """The names of what is required, and of what that requires."""
    found: set[str] = set()
    waiting = list(requirements)
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if wanted and name not in found:
            there = importlib.metadata.distribution(name)
            assert requirement.specifier.contains(there.version, prereleases=True), requirement
            found.add(name)
            waiting += there.requires or ()
    return found


def link(distribution: importlib.metadata.Distribution, packages: Path) -> None:
    """Puts a distribution's files into a folder of packages."""
    for source, place in _files(distribution):
        target = packages / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source)


def _files(distribution: importlib.metadata.Distribution) -> Iterator[tuple[Path, Path]]:
    for file in distribution.files or ():
        place = Path(str(file))
        if ".." not in place.parts and "__pycache__" not in place.parts:
            yield Path(str(file.locate())).resolve(), place
