"""The edge as one process of a container: renders the configuration, runs Envoy, drains it before it ends.

Usage: python -m deploy.envoy.serve --folder FOLDER [--grace-seconds N] [--threads N]

Settings come from `PARLEY_EDGE_*`; the configuration is written to FOLDER. Envoy by itself drops its calls
on SIGTERM, so SIGTERM comes here: new calls are sent elsewhere, running ones have N seconds. Exits as Envoy
does; with 2 where the settings are wrong, and with 1 where they make no valid configuration.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from deploy.envoy.admin import Admin
from deploy.envoy.contract import load_contract
from deploy.envoy.drain import drain
from deploy.envoy.lint import lint_file
from deploy.envoy.render import write
from deploy.envoy.settings import EdgeSettings
from services.rpc.settings import SettingsError, load

MOST_THREADS = 4
"""More than the replicas behind it keep busy; Envoy would take one per core of the host."""

ENVOY = Path(sys.executable).with_name("envoy")
"""It comes as a package of this environment."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = _parser().parse_args(arguments)
    output = options.folder / "envoy.json"
    try:
        settings = _settings()
        write(settings, load_contract(), output)
    except (SettingsError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    faults = lint_file(output)
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        return 1
    command = (str(ENVOY), "-c", str(output), "--disable-hot-restart", "--log-level", "warning")
    threads = ("--concurrency", str(options.threads))
    return asyncio.run(_serve((*command, *threads), Admin(settings.admin_address), options.grace_seconds))


def _settings() -> EdgeSettings:
    settings = load(EdgeSettings)
    if not settings.admin_address:
        raise SettingsError("PARLEY_EDGE_ADMIN_ADDRESS: needed to drain; unix:PATH in a folder of its own")
    return settings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="where to write the configuration")
    parser.add_argument("--grace-seconds", type=float, default=30.0, help="time that running calls have")
    parser.add_argument(
        "--threads", type=int, default=min(MOST_THREADS, os.cpu_count() or 1), help="Envoy's worker threads"
    )
    return parser


async def _serve(command: tuple[str, ...], admin: Admin, grace_seconds: float) -> int:
    """Run Envoy until it ends, or until this process is told to stop."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    envoy = await asyncio.create_subprocess_exec(*command)
    ended, stopped = asyncio.create_task(envoy.wait()), asyncio.create_task(told.wait())
    await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not ended.done():
        await _drain(admin, grace_seconds)
        envoy.terminate()
    return await ended


async def _drain(admin: Admin, seconds: float) -> None:
    """Let calls end; an Envoy that does not answer has none to wait for."""
    try:
        running = await asyncio.to_thread(drain, admin, seconds)
    except OSError as error:
        print(f"Envoy cannot be drained: {error}", file=sys.stderr)
        return
    if running:
        print(f"{running} calls were still running", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
