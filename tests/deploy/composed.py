"""Compose's `embedded` profile, brought up for real, and the means to reach it as clients do."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from cli.preflight import free_port
from deploy.credentials import make
from parley_client.client import Client
from parley_client.credentials import Credentials, Login, TokensInMemory
from tests.deploy.imports import ROOT

DOCKER = os.environ.get("DOCKER", "docker")
READY_SECONDS = 600
PASSWORD_FILE = "/var/lib/parley/auth/admin-password"


def engine(*arguments: str, timeout_seconds: float = 120, **environment: str) -> str:
    """What the container engine says to a command."""
    result = subprocess.run(
        [DOCKER, *arguments],
        env={**os.environ, **environment},
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
class Composed:
    """A platform in containers."""

    folder: Path
    project: str
    address: str
    began: float

    @property
    def authority(self) -> bytes:
        return (self.folder / "secrets" / "authority.pem").read_bytes()

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.authority.decode())

    def compose(self, *arguments: str, timeout_seconds: float = 120) -> str:
        """Runs a command of Compose on it. Its secrets lie beside the checkout's own, not among them."""
        command = ["compose", "--file", str(ROOT / "deploy" / "compose.yaml"), "--profile", "embedded"]
        command += ["--project-directory", str(self.folder), "--project-name", self.project]
        return engine(*command, *arguments, timeout_seconds=timeout_seconds, PUBLISH=self.address)

    def up(self) -> None:
        """Starts all of it, and says what did not become healthy."""
        wait = ["--wait", "--wait-timeout", str(READY_SECONDS)]
        try:
            self.compose("up", "--no-build", *wait, timeout_seconds=READY_SECONDS + 60)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.compose('logs', '--tail', '40')}") from None

    def down(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "60", timeout_seconds=300)

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

    def client(self, credentials: Credentials | None = None) -> Client:
        """A client through the edge."""
        trust = grpc.ssl_channel_credentials(self.authority)
        return Client(grpc.aio.secure_channel(self.address, trust), credentials)

    async def admin(self) -> Client:
        """A client that logged in as the administrator."""
        client = self.client()
        password = self.compose("exec", "--no-TTY", "auth", "cat", PASSWORD_FILE).strip()
        tokens = await client.login("admin", password)
        client.credentials = Login(TokensInMemory(tokens), client.refresh)
        return client


@contextmanager
def composed(folder: Path) -> Iterator[Composed]:
    """The profile with secrets of its own, until the block's end."""
    make(folder / "secrets")
    platform = Composed(folder, f"parley-{os.getpid()}", f"127.0.0.1:{free_port()}", time.monotonic())
    try:
        platform.up()
        yield platform
    finally:
        platform.down()
