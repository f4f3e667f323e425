"""`parley signing-keys`: what access tokens are signed with."""

from __future__ import annotations

import typer

from cli.connection import call
from cli.console import answers, print_json, print_table
from cli.failures import told
from cli.messages import Json, fields, minute
from parley.auth.v1 import signing_key_service_pb2 as pb2

app = typer.Typer(help="The keys that access tokens are signed with.", no_args_is_help=True)


@app.command("list")
@told
def list_signing_keys(as_json: Json = False) -> None:
    """List the published keys."""
    keys = call(lambda client: client.administration.list_signing_keys())
    if as_json:
        print_json([fields(key) for key in keys])
    else:
        print_table(["key", "signs from (UTC)", "signs now"], (_row(key) for key in keys))


@app.command()
@told
def rotate() -> None:
    """Begin a new key. The old one stays published until its last token is over."""
    key = call(lambda client: client.administration.rotate_signing_key())
    answers().print(f"Key {key.kid} signs from {minute(key, 'activate_time')} UTC.", markup=False)


def _row(key: pb2.SigningKey) -> list[str]:
    return [key.kid, minute(key, "activate_time"), "yes" if key.in_use else ""]
