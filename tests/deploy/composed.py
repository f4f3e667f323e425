"""Compose's profiles, brought up for real, and the means to reach it as clients do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.local.preflight import free_port
from deploy.credentials import make
from tests.deploy.imports import ROOT
from tests.deploy.reached import OWN_USER, Reached

DOCKER = os.environ.get("DOCKER", "docker")
READY_SECONDS = 600


def engine(*arguments: str, told: str | None = None, timeout_seconds: float = 120, **environment: str) -> str:
    """What the container engine says to a command; `told` is what the command reads."""
    result = subprocess.run(
        [DOCKER, *arguments],
        env={**os.environ, **environment},
        input=told,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
    assert result.returncode == 0, f"docker {' '.join(arguments)}: {result.stderr}"
    return result.stdout


def engine_answers() -> bool:
    """Whether there is a container engine."""
    if shutil.which(DOCKER) is None:
        return False
    return subprocess.run([DOCKER, "version"], capture_output=True, timeout=60, check=False).returncode == 0


@dataclass(frozen=True)
class Variant:
    """What is brought up: files in `deploy/`, profiles of theirs, and the users of the services in them."""

    files: tuple[str, ...]
    profiles: tuple[str, ...]
    users: dict[str, str]
    auth: str

    @property
    def own(self) -> list[str]:
        """The services that are of our images."""
        return [name for name, user in self.users.items() if user == OWN_USER]


EMBEDDED = Variant(
    files=("compose.yaml",),
    profiles=("embedded",),
    users=dict.fromkeys(("store", "cache", "auth", "tools", "inference", "web", "edge"), OWN_USER),
    auth="auth",
)
PRODUCTION = Variant(
    files=("compose.yaml", "compose.cpu.yaml"),
    profiles=("production", "observability"),
    users={
        "store-production": "999:1000",
        "cache-production": "999:1000",
        "database": "999:999",
        "prometheus": "65534:65534",
        **dict.fromkeys(("auth-production", "tools-production", "inference-production"), OWN_USER),
        **dict.fromkeys(("web", "edge"), OWN_USER),
    },
    auth="auth-production",
)
"""Without a GPU, and without Grafana, which is in none of the archives that stand-ins come from."""


@dataclass(frozen=True)
class Composed(Reached):
    """A platform in containers."""

    variant: Variant
    folder: Path
    project: str
    address: str
    began: float
    model = "parley-demo"

    @property
    def auth(self) -> str:
        return self.variant.auth

    @property
    def own(self) -> list[str]:
        return self.variant.own

    @property
    def seconds(self) -> float:
        """How long ago it was begun."""
        return time.monotonic() - self.began

    def compose(self, *arguments: str, told: str | None = None, timeout_seconds: float = 120) -> str:
        """Runs a command of Compose on it. Its secrets lie beside the checkout's own, not among them."""
        command = ["compose"]
        for file in self.variant.files:
            command += ["--file", str(ROOT / "deploy" / file)]
        for profile in self.variant.profiles:
            command += ["--profile", profile]
        command += ["--project-directory", str(self.folder), "--project-name", self.project]
        port = self.address.rpartition(":")[2]
        return engine(*command, *arguments, told=told, timeout_seconds=timeout_seconds, PUBLISH_PORT=port)

    def up(self) -> None:
        """Starts all of it, and says what did not become healthy."""
        wait = ["--wait", "--wait-timeout", str(READY_SECONDS)]
        try:
            self.compose("up", "--no-build", *wait, *self.variant.users, timeout_seconds=READY_SECONDS + 60)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.compose('logs', '--tail', '40')}") from None

    def down(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "60", timeout_seconds=300)

    def inside(self, service: str, *command: str) -> str:
        """What a command says inside of a service's container."""
        return self.compose("exec", "--no-TTY", service, *command)

    def containers(self) -> dict[str, dict[str, Any]]:
        """Each service's container as the engine describes it."""
        names = self.compose("ps", "--all", "--quiet").split()
        found = json.loads(engine("inspect", *names))
        return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in found}

    def left(self) -> list[str]:
        """The containers, networks and volumes that still are its own."""
        label = ["--filter", f"label=com.docker.compose.project={self.project}", "--quiet"]
        kinds = (["ps", "--all"], ["network", "ls"], ["volume", "ls"])
        return [name for kind in kinds for name in engine(*kind, *label).split()]


@contextmanager
def composed(variant: Variant, folder: Path) -> Iterator[Composed]:
    """A variant with secrets of its own, until the block's end."""
    make(folder / "secrets")
    for name in ("observability", "postgresql"):
        (folder / name).symlink_to(ROOT / "deploy" / name)
    address = f"127.0.0.1:{free_port()}"
    platform = Composed(variant, folder, f"parley-{os.getpid()}", address, time.monotonic())
    try:
        platform.up()
        print(f"healthy after {platform.seconds:.1f} s")
        yield platform
    finally:
        platform.down()
