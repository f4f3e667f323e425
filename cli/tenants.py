"""`parley tenants`: the organisations of a deployment, for its root tenant."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated

import typer

from cli.connection import call
from cli.console import answers, errors, print_json, print_table
from cli.failures import told
from cli.messages import Json, day, fields, state
from parley.auth.v1 import tenant_service_pb2 as pb2
from parley_client.caller import pages
from parley_client.client import Client

app = typer.Typer(help="Tenants: each has its own users, roles and keys.", no_args_is_help=True)

COLUMNS = ["id", "name", "root", "made", "state"]

Id = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id, as `list` shows it.")]


@app.command("list")
@told
def list_tenants(as_json: Json = False) -> None:
    """List tenants, newest first."""
    tenants = call(_all)
    if as_json:
        print_json([fields(tenant) for tenant in tenants])
    else:
        print_table(COLUMNS, (_row(tenant) for tenant in tenants))


async def _all(client: Client) -> list[pb2.Tenant]:
    def page(token: str) -> Awaitable[pb2.ListTenantsResponse]:
        return client.administration.list_tenants(pb2.ListTenantsRequest(page_token=token))

    return [tenant async for answer in pages(page) for tenant in answer.tenants]


@app.command()
@told
def show(tenant_id: Id, as_json: Json = False) -> None:
    """Show a tenant."""
    tenant = call(lambda client: client.administration.get_tenant(tenant_id))
    print_json(fields(tenant)) if as_json else print_table(COLUMNS, [_row(tenant)])


@app.command()
@told
def create(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    admin: Annotated[str, typer.Option(help="What its first administrator logs in as.")],
    as_json: Json = False,
) -> None:
    """Make a tenant. Its administrator's one-time password is shown this once, alone on standard output."""
    request = pb2.CreateTenantRequest(name=name, admin_username=admin)
    made = call(lambda client: client.administration.create_tenant(request))
    if as_json:
        print_json({**fields(made.tenant), "one_time_password": made.one_time_password})
        return
    errors().print(f"Tenant {made.tenant.tenant_id} made; {admin} must change the password.", markup=False)
    answers().print(made.one_time_password, markup=False)


@app.command()
@told
def rename(tenant_id: Id, name: Annotated[str, typer.Argument(help="What people shall call it.")]) -> None:
    """Call a tenant something else."""
    wanted = pb2.Tenant(tenant_id=tenant_id, name=name)
    tenant = call(lambda client: client.administration.update_tenant(wanted, "name"))
    answers().print(f"Tenant {tenant.tenant_id} is called {tenant.name}.", markup=False)


@app.command()
@told
def disable(tenant_id: Id) -> None:
    """Shut out everyone of a tenant, within a second."""
    tenant = call(lambda client: client.administration.disable_tenant(tenant_id))
    answers().print(f"{tenant.name} is disabled.", markup=False)


@app.command()
@told
def enable(tenant_id: Id) -> None:
    """Let a disabled tenant in again."""
    tenant = call(lambda client: client.administration.enable_tenant(tenant_id))
    answers().print(f"{tenant.name} is active.", markup=False)


def _row(tenant: pb2.Tenant) -> list[str]:
    root = "yes" if tenant.root else ""
    return [tenant.tenant_id, tenant.name, root, day(tenant, "create_time"), state(tenant)]
