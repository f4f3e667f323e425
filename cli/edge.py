"""The edge's configuration: rendered, and checked before anything starts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.failures import CommandError, ExitCode
from cli.preflight import program

LIMIT_SECONDS = 60.0


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
