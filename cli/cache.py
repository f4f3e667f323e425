"""`parley cache`: answers that are kept."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.connection import call
from cli.console import answers
from cli.failures import told

app = typer.Typer(help="Answers that are kept.", no_args_is_help=True)


@app.callback()
def cache() -> None:
    """Answers that are kept."""


@app.command()
@told
def purge(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="Default: the deployment's default.")] = "",
) -> None:
    """Forget what your tenant was answered by a model: it is generated again when it is asked for."""
    deleted = call(lambda client: client.purge_cache(model))
    answers().print(f"Forgotten; {deleted} kept turns were deleted.", markup=False)
