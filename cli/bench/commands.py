"""`parley bench`: what the platform costs, measured on this machine."""

from __future__ import annotations

import typer

from cli.bench.auth import auth
from cli.bench.cache import cache
from cli.bench.cancel import cancel
from cli.bench.chat import chat
from cli.bench.memory import memory
from cli.bench.slow_readers import slow_readers
from cli.bench.tools import tools
from cli.bench.tracing import tracing

app = typer.Typer(help="Measure the platform on this machine.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure the platform on this machine."""


app.command()(auth)
app.command()(cache)
app.command()(cancel)
app.command()(memory)
app.command()(slow_readers)
app.command()(tools)
app.command()(tracing)
app.command()(chat)
