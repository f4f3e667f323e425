"""`parley models`: what can be asked."""

from __future__ import annotations

from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict

from cli.connection import call
from cli.console import print_json, print_table
from cli.failures import told
from cli.local.control import DRAIN_SECONDS, ReloadModel
from cli.local.model import choose_model
from cli.replicas import Drain, changed, show
from parley.inference.v1 import model_pb2
from parley_client.client import Client

app = typer.Typer(help="The models that can be asked.", no_args_is_help=True)


@app.command("reload")
@told
def reload(
    model: Annotated[str, typer.Argument(help="A model that is served.")],
    path: Annotated[
        str, typer.Option(help="Another folder or Hugging Face name to load it from.", metavar="PATH_OR_NAME")
    ] = "",
    seconds: Drain = DRAIN_SECONDS,
) -> None:
    """Load a model of the local stack anew, beside itself, and let no stream drop.

    Each of its replicas is replaced by a fresh one, one after another. The memory must hold one more of them.
    """
    source = choose_model(path).source if path else ""
    show(changed(ReloadModel(model=model, source=source, seconds=seconds)))


@app.command("list")
@told
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON for scripts.")] = False,
) -> None:
    """List the models."""
    models = call(Client.list_models)
    if as_json:
        print_json([MessageToDict(model, preserving_proto_field_name=True) for model in models])
    else:
        print_table(
            ["model", "context", "state", "reasoning", "tools", "default"], (_row(model) for model in models)
        )


def _row(model: model_pb2.Model) -> list[object]:
    state = model_pb2.ModelState.Name(model.state).removeprefix("MODEL_STATE_").lower()
    marks = (
        "yes" if has else "" for has in (model.supports_reasoning, model.supports_tools, model.is_default)
    )
    return [model.name, model.context_length, state, *marks]
