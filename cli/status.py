"""`parley status`: what runs, and whether it answers."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from cli.connection import Deployment
from cli.console import answers, print_json, print_table
from cli.failures import ExitCode, told
from cli.home import StackState
from cli.local.probes import edge_health
from cli.local.stack import INFERENCE, SESSIONS, TOOLS

SERVICES = {"auth": SESSIONS, "tools": TOOLS, "inference": INFERENCE}


@told
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON for scripts.")] = False,
) -> None:
    """Show the processes of the local stack and the health that the edge reports.

    Exits with 0 when everything answers, 1 when something does not, 3 when nothing does.
    """
    deployment = Deployment.find()
    health = asyncio.run(_health(deployment))
    local = None if deployment.settings.address else deployment.home.running()
    report = {"address": deployment.address, "health": health, "processes": _processes(local)}
    if as_json:
        print_json(report)
    else:
        _show(report)
    serving = [value == "SERVING" for value in health.values()]
    if not all(serving):
        raise typer.Exit(ExitCode.FAILED if any(serving) else ExitCode.UNREACHABLE)


async def _health(deployment: Deployment) -> dict[str, str]:
    """What the edge says of each service."""
    found = await asyncio.gather(
        *(edge_health(deployment.address, deployment.authority, service) for service in SERVICES.values())
    )
    return dict(zip(SERVICES, found, strict=True))


def _processes(state: StackState | None) -> list[dict[str, Any]]:
    """The local stack's processes, as its supervisor last saw them."""
    if state is None:
        return []
    return [
        {
            "name": name,
            "phase": process.phase,
            "alive": process.is_alive(),
            "pid": process.pid,
            "restarts": process.restarts,
            "address": process.address,
        }
        for name, process in state.processes.items()
    ]


def _show(report: dict[str, Any]) -> None:
    print_table(["service", f"health at {report['address']}"], report["health"].items())
    if not report["processes"]:
        answers().print("No local stack runs here.")
        return
    answers().print()
    columns = ["name", "phase", "alive", "pid", "restarts", "address"]
    print_table(["process", *columns[1:]], ([row[name] for name in columns] for row in report["processes"]))
