"""`parley adapters`: LoRA adapters, loaded and unloaded while the platform serves."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.connection import call
from cli.console import answers, print_json, print_table
from cli.failures import told
from cli.messages import Json, fields
from parley.inference.v1 import adapter_service_pb2 as pb2
from parley_client.adapters import state
from parley_client.caller import pages
from parley_client.client import Client

app = typer.Typer(help="LoRA adapters of models.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="ADAPTER", help="Its folder's name.")]
Base = Annotated[
    str, typer.Option("--model", metavar="MODEL", help="The base model. Default: the deployment's default.")
]


@app.command("list")
@told
def list_adapters(model: Base = "", as_json: Json = False) -> None:
    """List the adapters of a model: what can be loaded, and what is."""

    async def find(client: Client) -> list[pb2.Adapter]:
        async def page(token: str) -> pb2.ListAdaptersResponse:
            return await client.adapters.list(pb2.ListAdaptersRequest(base_model=model, page_token=token))

        return [each async for answer in pages(page) for each in answer.adapters]

    found = call(find)
    if as_json:
        print_json([fields(each) for each in found])
    else:
        rows = (
            [each.adapter, each.model, state(each), each.rank or "", each.revision, each.running_runs]
            for each in found
        )
        print_table(["adapter", "ask for", "state", "rank", "revision", "runs"], rows)


@app.command()
@told
def load(name: Name, model: Base = "", as_json: Json = False) -> None:
    """Load an adapter: from then on it can be asked for like a model."""
    loaded = call(lambda client: client.adapters.load(name, model))
    if as_json:
        print_json(fields(loaded))
    else:
        answers().print(f"Loaded; ask for the model {loaded.model}.", markup=False)


@app.command()
@told
def unload(name: Name, model: Base = "") -> None:
    """Unload an adapter: what it answers now is answered to its end."""
    running = call(lambda client: client.adapters.unload(name, model))
    rest = f" {running} runs that it answers go on to their end." if running else ""
    answers().print(f"Unloaded.{rest}", markup=False)
