"""`parley keys`: API keys for programs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from cli.connection import call
from cli.console import answers, errors, print_json, print_table
from cli.failures import told
from parley.auth.v1 import key_service_pb2

app = typer.Typer(help="API keys for programs.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Write JSON for scripts.")]


@app.command()
@told
def create(
    name: Annotated[str, typer.Argument(help="What you call the key.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="A permission it holds, such as inference.*; may be repeated.")
    ] = None,
    days: Annotated[int, typer.Option(help="Days until it ends by itself; 0 for never.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Make a key. Its secret is shown this once; it alone goes to standard output."""
    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    made = call(lambda client: client.create_key(name, scope or (), expires_at))
    if as_json:
        print_json({**_fields(made.key), "secret": made.secret})
        return
    errors().print(f"Key {made.key.key_id} made. Keep the secret: it is not shown again.", markup=False)
    answers().print(made.secret, markup=False)


@app.command("list")
@told
def list_keys(as_json: Json = False) -> None:
    """List your keys, without their secrets."""
    keys = call(lambda client: client.list_keys())
    if as_json:
        print_json([_fields(key) for key in keys])
    else:
        columns = ["id", "name", "begins with", "permits", "made", "last used", "ends", "state"]
        print_table(columns, (_row(key) for key in keys))


@app.command()
@told
def revoke(key_id: Annotated[str, typer.Argument(help="The key's id, as `list` shows it.")]) -> None:
    """End a key at once."""
    key = call(lambda client: client.revoke_key(key_id))
    answers().print(f"Key {key.key_id} ({key.name}) is revoked.", markup=False)


def _fields(key: key_service_pb2.Key) -> dict[str, object]:
    return dict(MessageToDict(key, preserving_proto_field_name=True))


def _row(key: key_service_pb2.Key) -> list[str]:
    state = "revoked" if key.HasField("revoke_time") else "live"
    scopes = ", ".join(key.scopes) or "all that you may"
    last_used = _day(key.last_use_time) if key.HasField("last_use_time") else "never"
    ends = _day(key.expire_time) if key.HasField("expire_time") else "never"
    return [key.key_id, key.name, key.prefix, scopes, _day(key.create_time), last_used, ends, state]


def _day(time: Timestamp) -> str:
    return time.ToDatetime(UTC).strftime("%Y-%m-%d")
