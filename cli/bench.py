"""`parley bench`: what the platform costs, measured on this machine."""

from __future__ import annotations

import typer

app = typer.Typer(help="Measure the platform on this machine.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure the platform on this machine."""
