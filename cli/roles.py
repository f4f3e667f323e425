"""`parley roles`: named sets of permissions."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated

import typer

from cli.connection import call
from cli.console import answers, print_json, print_table
from cli.failures import CommandError, told
from cli.messages import Json, fields
from parley.auth.v1 import role_service_pb2 as pb2
from parley_client.caller import pages
from parley_client.client import Client

app = typer.Typer(help="Roles: named sets of permissions.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="ROLE", help="The role's name.")]
Permissions = Annotated[
    list[str] | None, typer.Option("--permission", help="What it permits, such as tools.*; may be repeated.")
]


@app.command("list")
@told
def list_roles(as_json: Json = False) -> None:
    """List the built-in roles and your tenant's."""
    _tell(call(_all), as_json)


async def _all(client: Client) -> list[pb2.Role]:
    def page(token: str) -> Awaitable[pb2.ListRolesResponse]:
        return client.administration.list_roles(pb2.ListRolesRequest(page_token=token))

    return [role async for answer in pages(page) for role in answer.roles]


@app.command()
@told
def show(name: Name, as_json: Json = False) -> None:
    """Show a role."""
    role = call(lambda client: client.administration.get_role(name))
    if as_json:
        print_json(fields(role))
    else:
        _tell([role], as_json)


@app.command()
@told
def create(
    name: Name,
    permission: Permissions = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
) -> None:
    """Make a role of your tenant."""
    role = pb2.Role(name=name, permissions=permission or (), description=description)
    made = call(lambda client: client.administration.create_role(role))
    answers().print(f"Role {made.name} made.", markup=False)


@app.command()
@told
def update(
    name: Name,
    permission: Permissions = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
) -> None:
    """Change a role's permissions, all of them at once, or what it is for."""
    changed = [
        *(["permissions"] if permission else []),
        *(["description"] if description is not None else []),
    ]
    if not changed:
        raise CommandError("Nothing is to change.", "Give --permission or --description.")
    role = pb2.Role(name=name, permissions=permission or (), description=description or "")
    made = call(lambda client: client.administration.update_role(role, *changed))
    answers().print(f"Role {made.name} permits {', '.join(made.permissions) or 'nothing'}.", markup=False)


@app.command()
@told
def delete(name: Name) -> None:
    """Delete a role of your tenant that nobody has any more."""
    call(lambda client: client.administration.delete_role(name))
    answers().print(f"Role {name} is deleted.", markup=False)


def _tell(roles: list[pb2.Role], as_json: bool) -> None:
    if as_json:
        print_json([fields(role) for role in roles])
    else:
        print_table(["role", "built in", "permits", "what for"], (_row(role) for role in roles))


def _row(role: pb2.Role) -> list[str]:
    return [role.name, "yes" if role.built_in else "", ", ".join(role.permissions), role.description]
