"""The edge: its configuration, rendered and checked before anything starts, and its pools while it runs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cli.failures import CommandError, ExitCode
from cli.local.preflight import program
from deploy.envoy.admin import Admin
from deploy.envoy.clusters import affine
from deploy.envoy.endpoints import EndpointFiles, pool

LIMIT_SECONDS = 60.0
FOLLOW_SECONDS = 30.0
"""What the edge has to follow a change: its own restart and a few health checks."""

LOOK_SECONDS = 0.2


def render_edge(environment: Mapping[str, str], output: Path) -> None:
    """Renders the configuration from PARLEY_EDGE_* and has Envoy validate it.

    Raises:
        CommandError: The settings are wrong, or Envoy refuses what they make.
    """
    _run([sys.executable, "-P", "-m", "deploy.envoy.render", "--output", str(output)], environment)
    _run([program("envoy"), "-c", str(output), "--mode", "validate", "--log-level", "error"], environment)


def _run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    try:
        done = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandError(f"The edge cannot be configured: {error}", "", ExitCode.MACHINE) from None
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no reason given"]
        message = f"The edge cannot be configured: {words[-1]}"
        raise CommandError(message, "Check the PARLEY_EDGE_* variables.", ExitCode.MACHINE)


class EdgePools:
    """The pools of replicas at the edge while it runs."""

    def __init__(self, files: EndpointFiles, admin: Admin) -> None:
        """Change what lies here, and see what Envoy makes of it there."""
        self._files = files
        self._admin = admin

    def write(self, model: str, addresses: Sequence[str]) -> None:
        """Have these replicas get a model's calls.

        Raises:
            OSError: It cannot be written.
        """
        self._files.write(model, addresses)

    async def until_used(self, model: str, address: str) -> bool:
        """Whether a replica gets calls within `FOLLOW_SECONDS`."""
        return await self._until(model, lambda hosts: hosts.get(address, False))

    async def until_left(self, model: str, address: str) -> bool:
        """Whether a replica gets no more calls within `FOLLOW_SECONDS`; those that it has go on."""
        return await self._until(model, lambda hosts: address not in hosts)

    async def _until(self, model: str, holds: Callable[[Mapping[str, bool]], bool]) -> bool:
        """Whether something holds of both clusters of a pool in time."""
        deadline = asyncio.get_running_loop().time() + FOLLOW_SECONDS
        while not await asyncio.to_thread(self._holds, model, holds):
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(LOOK_SECONDS)
        return True

    def _holds(self, model: str, holds: Callable[[Mapping[str, bool]], bool]) -> bool:
        try:
            return all(holds(self._admin.hosts(cluster)) for cluster in (pool(model), affine(model)))
        except (OSError, ValueError):  # it is being started again, and will read the file
            return False
