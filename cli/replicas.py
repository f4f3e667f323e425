"""`parley replicas`: the inference replicas of the stack that runs on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Annotated

import typer

from cli.console import errors, print_json, print_table
from cli.environment import command_settings
from cli.failures import told
from cli.home import Home
from cli.local.control import DRAIN_SECONDS, AddReplicas, ListReplicas, RemoveReplica, ReplicaState, Request
from cli.local.control_client import ask

app = typer.Typer(help="The inference replicas of the local stack.", no_args_is_help=True)

Drain = Annotated[
    float, typer.Option("--seconds", help="Time that running streams have to end.", min=0, max=86_400)
]


@app.command("list")
@told
def list_replicas(
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON for scripts.")] = False,
) -> None:
    """List the replicas, with the model and the cores of each."""
    found = changed(ListReplicas())
    if as_json:
        print_json([replica.model_dump() for replica in found])
    else:
        show(found)


@app.command("add")
@told
def add(
    model: Annotated[str, typer.Argument(help="A model that is served; the default if left out.")] = "",
    count: Annotated[int, typer.Option(help="How many more.", min=1, max=64)] = 1,
) -> None:
    """Start replicas of a model. Each gets calls as soon as it is ready."""
    show(changed(AddReplicas(model=model, count=count)))


@app.command("remove")
@told
def remove(
    replica: Annotated[str, typer.Argument(help="Its name, as `parley replicas list` shows it.")],
    seconds: Drain = DRAIN_SECONDS,
) -> None:
    """End a replica: it gets no more calls, and ends when those that it has are over."""
    show(changed(RemoveReplica(replica=replica, seconds=seconds)))


def changed(request: Request) -> tuple[ReplicaState, ...]:
    """Has the local stack do something, and shows its steps.

    Raises:
        CommandError: It was not done, or no stack runs.
    """
    home = Home(command_settings(os.environ).home.absolute())
    return ask(home, request, lambda step: errors().print(step, soft_wrap=True, markup=False))


def show(replicas: Iterable[ReplicaState]) -> None:
    """Shows replicas as a table."""
    rows = (
        (each.name, each.model, each.phase, each.address, ",".join(map(str, each.cores)), each.source)
        for each in replicas
    )
    print_table(["replica", "model", "phase", "address", "cores", "source"], rows)
