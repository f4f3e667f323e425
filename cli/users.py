"""`parley users`: who may log in, and the accounts of programs."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

import typer

from cli.connection import call
from cli.console import answers, errors, print_json, print_table
from cli.failures import CommandError, told
from cli.messages import Json, day, fields, state
from parley.auth.v1 import user_service_pb2 as pb2
from parley_client.caller import pages
from parley_client.client import Client

app = typer.Typer(help="Users and service accounts of your tenant.", no_args_is_help=True)

ULID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")

Who = Annotated[str, typer.Argument(metavar="USER", help="The user's name or id.")]
Roles = Annotated[list[str] | None, typer.Option("--role", help="A role; may be repeated.")]


class Kind(StrEnum):
    """What a user is, as the command line spells it."""

    PERSON = "person"
    SERVICE = "service"


class State(StrEnum):
    """Whether a user may be used, as the command line spells it."""

    ACTIVE = "active"
    DISABLED = "disabled"


@app.command("list")
@told
def list_users(
    kind: Annotated[Kind | None, typer.Option(help="Only this kind.")] = None,
    only: Annotated[State | None, typer.Option("--state", help="Only in this state.")] = None,
    role: Annotated[str, typer.Option(help="Only those who have this role.")] = "",
    prefix: Annotated[str, typer.Option(help="Only those whose name begins so.")] = "",
    as_json: Json = False,
) -> None:
    """List users, newest first."""
    wanted = pb2.ListUsersRequest(role=role, username_prefix=prefix)
    if kind is not None:
        wanted.kind = pb2.UserKind.Value(f"USER_KIND_{kind.name}")
    if only is not None:
        wanted.state = pb2.UserState.Value(f"USER_STATE_{only.name}")
    users = call(lambda client: find_users(client, wanted))
    if as_json:
        print_json([fields(user) for user in users])
    else:
        columns = ["id", "name", "called", "kind", "roles", "made", "state"]
        print_table(columns, (_row(user) for user in users))


@app.command()
@told
def create(
    username: Annotated[str, typer.Argument(help="What the user logs in as.")],
    role: Roles = None,
    display_name: Annotated[str, typer.Option(help="What people call the user.")] = "",
    service: Annotated[
        bool, typer.Option("--service", help="A program's account: keys, no password.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a user. A person's one-time password is shown this once; it alone goes to standard output."""
    kind = pb2.USER_KIND_SERVICE if service else pb2.USER_KIND_PERSON
    request = pb2.CreateUserRequest(username=username, display_name=display_name, kind=kind, roles=role or ())
    made = call(lambda client: client.administration.create_user(request))
    if as_json:
        print_json({**fields(made.user), "one_time_password": made.one_time_password})
        return
    errors().print(f"User {made.user.username} ({made.user.user_id}) made.", markup=False)
    if made.one_time_password:
        errors().print("The password is good for three days, and must be changed at the first login.")
        answers().print(made.one_time_password, markup=False)


@app.command()
@told
def show(who: Who, as_json: Json = False) -> None:
    """Show a user."""

    async def get(client: Client) -> pb2.User:
        return await client.administration.get_user(await user_id(client, who))

    _tell(call(get), as_json)


@app.command()
@told
def update(
    who: Who,
    role: Roles = None,
    no_roles: Annotated[bool, typer.Option("--no-roles", help="Take every role away.")] = False,
    display_name: Annotated[str | None, typer.Option(help="What people call the user.")] = None,
    as_json: Json = False,
) -> None:
    """Change a user's roles, all of them at once, or what people call the user."""
    changed = [
        *(["roles"] if role or no_roles else []),
        *(["display_name"] if display_name is not None else []),
    ]
    if not changed:
        raise CommandError("Nothing is to change.", "Give --role, --no-roles or --display-name.")

    async def change(client: Client) -> pb2.User:
        user = pb2.User(user_id=await user_id(client, who), roles=role or (), display_name=display_name or "")
        return await client.administration.update_user(user, *changed)

    _tell(call(change), as_json)


@app.command()
@told
def disable(who: Who) -> None:
    """Shut a user out, within a second."""

    async def change(client: Client) -> pb2.User:
        return await client.administration.disable_user(await user_id(client, who))

    answers().print(f"{call(change).username} is disabled.", markup=False)


@app.command()
@told
def enable(who: Who) -> None:
    """Let a disabled user in again."""

    async def change(client: Client) -> pb2.User:
        return await client.administration.enable_user(await user_id(client, who))

    answers().print(f"{call(change).username} is active.", markup=False)


@app.command("reset-password")
@told
def reset_password(who: Who) -> None:
    """Give a person a new one-time password, and end their sessions. It alone goes to standard output."""

    async def reset(client: Client) -> str:
        return await client.administration.reset_password(await user_id(client, who))

    answers().print(call(reset), markup=False)


async def find_users(client: Client, wanted: pb2.ListUsersRequest) -> list[pb2.User]:
    """Every user that is asked for.

    Raises:
        ParleyError: They cannot be listed.
    """

    async def page(token: str) -> pb2.ListUsersResponse:
        wanted.page_token = token
        return await client.administration.list_users(wanted)

    return [user async for answer in pages(page) for user in answer.users]


async def user_id(client: Client, who: str) -> str:
    """The id of a user who is named or given by id; empty for nobody.

    Raises:
        CommandError: Nobody is called so.
        ParleyError: Users cannot be listed.
    """
    if not who or ULID.fullmatch(who):
        return who
    for user in await find_users(client, pb2.ListUsersRequest(username_prefix=who)):
        if user.username.casefold() == who.casefold():
            return user.user_id
    raise CommandError(f"Nobody of your tenant is called {who}.", "`parley users list` shows who there is.")


def _tell(user: pb2.User, as_json: bool) -> None:
    if as_json:
        print_json(fields(user))
    else:
        print_table(["id", "name", "called", "kind", "roles", "made", "state"], [_row(user)])


def _row(user: pb2.User) -> list[str]:
    kind = pb2.UserKind.Name(user.kind).removeprefix("USER_KIND_").lower()
    roles = ", ".join(user.roles) or "none"
    return [
        user.user_id,
        user.username,
        user.display_name,
        kind,
        roles,
        day(user, "create_time"),
        state(user),
    ]
