"""`parley keys`: API keys for programs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from cli.connection import call
from cli.console import answers, errors, print_json, print_table
from cli.failures import told
from cli.messages import Json, day, fields
from cli.users import user_id
from parley.auth.v1 import key_service_pb2 as pb2
from parley_client.caller import pages
from parley_client.client import Client

app = typer.Typer(help="API keys for programs.", no_args_is_help=True)

# What the contract calls every user of the tenant (AIP-159).
EVERYONE = "-"

KeyId = Annotated[str, typer.Argument(help="The key's id, as `list` shows it.")]


@app.command()
@told
def create(
    name: Annotated[str, typer.Argument(help="What you call the key.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="A permission it holds, such as inference.*; may be repeated.")
    ] = None,
    days: Annotated[int, typer.Option(help="Days until it ends by itself; 0 for never.", min=0)] = 0,
    address: Annotated[
        list[str] | None,
        typer.Option(help="A network it may be used from, such as 192.0.2.0/24; may be repeated."),
    ] = None,
    owner: Annotated[str, typer.Option("--for", help="The service account it acts as. Default: you.")] = "",
    as_json: Json = False,
) -> None:
    """Make a key. Its secret is shown this once; it alone goes to standard output."""

    async def make(client: Client) -> pb2.CreateKeyResponse:
        request = pb2.CreateKeyRequest(name=name, scopes=scope or (), allowed_addresses=address or ())
        request.user_id = await user_id(client, owner)
        if days:
            request.expire_time.FromDatetime(datetime.now(UTC) + timedelta(days=days))
        return await client.administration.create_key(request)

    made = call(make)
    _tell_secret(made.key, made.secret, as_json)


@app.command("list")
@told
def list_keys(
    owner: Annotated[str, typer.Option("--user", help="Whose, by name or id. Default: yours.")] = "",
    everyone: Annotated[bool, typer.Option("--all", help="Everyone's of your tenant.")] = False,
    as_json: Json = False,
) -> None:
    """List keys, newest first, without their secrets."""
    keys = call(lambda client: _find(client, owner, everyone=everyone))
    if as_json:
        print_json([fields(key) for key in keys])
    else:
        columns = ["id", "name", "begins with", "permits", "from", "made", "last used", "ends", "state"]
        print_table(columns, (_row(key) for key in keys))


@app.command()
@told
def rotate(
    key_id: KeyId,
    overlap_hours: Annotated[int, typer.Option(help="Hours that the old key goes on.", min=0, max=720)] = 24,
    as_json: Json = False,
) -> None:
    """Make a key that follows another one. Its secret alone goes to standard output."""
    overlap = timedelta(hours=overlap_hours)
    made = call(lambda client: client.administration.rotate_key(key_id, overlap))
    _tell_secret(made.key, made.secret, as_json)


@app.command()
@told
def revoke(key_id: KeyId) -> None:
    """End a key at once."""
    key = call(lambda client: client.revoke_key(key_id))
    answers().print(f"Key {key.key_id} ({key.name}) is revoked.", markup=False)


async def _find(client: Client, owner: str, *, everyone: bool) -> list[pb2.Key]:
    wanted = pb2.ListKeysRequest(user_id=EVERYONE if everyone else await user_id(client, owner))

    async def page(token: str) -> pb2.ListKeysResponse:
        wanted.page_token = token
        return await client.administration.list_keys(wanted)

    return [key async for answer in pages(page) for key in answer.keys]


def _tell_secret(key: pb2.Key, secret: str, as_json: bool) -> None:
    if as_json:
        print_json({**fields(key), "secret": secret})
        return
    errors().print(f"Key {key.key_id} made. Keep the secret: it is not shown again.", markup=False)
    answers().print(secret, markup=False)


def _row(key: pb2.Key) -> list[str]:
    state = "revoked" if key.HasField("revoke_time") else "live"
    scopes = ", ".join(key.scopes) or "all that its owner may"
    networks = ", ".join(key.allowed_addresses) or "anywhere"
    times = [day(key, "create_time"), day(key, "last_use_time"), day(key, "expire_time")]
    return [key.key_id, key.name, key.prefix, scopes, networks, *times, state]
