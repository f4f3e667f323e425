"""`parley rollouts`: variants that are tried on part of a tenant's callers."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.connection import call
from cli.console import answers, print_json, print_table
from cli.failures import told
from cli.messages import Json, fields, minute
from cli.rollout_figures import figure_rows
from cli.rollout_options import GUARDS, read_guardrails, read_variants
from parley.inference.v1 import rollout_pb2
from parley.inference.v1 import rollout_service_pb2 as pb2
from parley_client.caller import pages
from parley_client.client import Client
from parley_client.rollouts import share, state, why_rolled_back

app = typer.Typer(help="Variants of an alias, tried on part of its callers.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="ALIAS", help="What requests name as their model.")]


@app.command("list")
@told
def list_rollouts(as_json: Json = False) -> None:
    """List the aliases of your tenant and how they stand."""

    async def find(client: Client) -> list[rollout_pb2.Rollout]:
        async def page(token: str) -> pb2.ListRolloutsResponse:
            return await client.rollouts.list(pb2.ListRolloutsRequest(page_token=token))

        return [each async for answer in pages(page) for each in answer.rollouts]

    found = call(find)
    if as_json:
        print_json([fields(each) for each in found])
    else:
        rows = ([each.name, state(each), _shares(each), minute(each, "update_time")] for each in found)
        print_table(["alias", "state", "shares", "changed"], rows)


@app.command()
@told
def create(
    name: Name,
    variant: Annotated[
        list[str], typer.Option(metavar="NAME=MODEL@PERCENT", help="What it stands for; the first is stable.")
    ],
    stable: Annotated[str, typer.Option(metavar="NAME", help="The variant to roll back to.")] = "",
    prompt: Annotated[
        list[str] | None, typer.Option(metavar="NAME=TEXT", help="Instructions of a variant.")
    ] = None,
    sampling: Annotated[
        list[str] | None, typer.Option(metavar="NAME.FIELD=NUMBER", help="How a variant chooses tokens.")
    ] = None,
    shadow: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PERCENT", help="Of the chats, ask this variant too, unseen."),
    ] = None,
    guard: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=NUMBER", help=f"Roll back beyond it: {GUARDS}."),
    ] = None,
    min_samples: Annotated[
        int | None, typer.Option(min=1, help="What a figure needs to be judged; 50 by default.")
    ] = None,
    window_minutes: Annotated[
        int | None, typer.Option(min=1, max=60, help="How far back it is judged; 10 by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Begin a rollout: from then on the alias can be asked for like a model."""
    request = pb2.CreateRolloutRequest(
        name=name,
        variants=read_variants(variant, prompt or (), sampling or (), shadow or ()),
        stable_variant_name=stable,
        guardrails=read_guardrails(guard or (), min_samples, window_minutes),
    )
    _show(call(lambda client: client.rollouts.create(request)), as_json)


@app.command()
@told
def status(name: Name, as_json: Json = False) -> None:
    """Show how a rollout stands, and how its variants compare."""
    found = call(lambda client: client.rollouts.compare(name))
    if as_json:
        print_json(fields(found))
        return
    _show(found.rollout, as_json=False)
    answers().print()
    print_table(
        ["variant", "figure", "value", "95 % interval", "samples", "beside the stable", ""],
        (row for variant in found.variants for row in figure_rows(variant)),
    )


@app.command()
@told
def promote(
    name: Name,
    variant: Annotated[
        str, typer.Argument(metavar="[VARIANT]", help="Default: the one beside the stable.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Give everybody one variant."""
    _show(call(lambda client: client.rollouts.promote(name, variant)), as_json)


@app.command()
@told
def rollback(name: Name, as_json: Json = False) -> None:
    """Give everybody the stable variant."""
    _show(call(lambda client: client.rollouts.rollback(name)), as_json)


@app.command()
@told
def delete(name: Name) -> None:
    """Take an alias away: nothing answers to it any more."""
    call(lambda client: client.rollouts.delete(name))
    answers().print(f"{name} stands for nothing any more.", markup=False)


def _show(rollout: rollout_pb2.Rollout, as_json: bool) -> None:
    if as_json:
        print_json(fields(rollout))
        return
    answers().print(f"{rollout.name}: {state(rollout)}", markup=False)
    if why := why_rolled_back(rollout):
        answers().print(why, markup=False)
    print_table(["variant", "model", "percent", ""], (_row(rollout, each) for each in rollout.variants))


def _row(rollout: rollout_pb2.Rollout, variant: rollout_pb2.RolloutVariant) -> list[object]:
    stable = "stable" if variant.name == rollout.stable_variant_name else ""
    return [variant.name, variant.model, share(rollout, variant), stable]


def _shares(rollout: rollout_pb2.Rollout) -> str:
    return ", ".join(f"{each.name} {share(rollout, each)} %" for each in rollout.variants)
