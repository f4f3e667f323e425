"""`parley mcp`: outside servers of the Model Context Protocol, whose tools are called like Parley's own."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Literal

import typer
from google.protobuf.duration_pb2 import Duration

from cli.connection import call
from cli.console import answers, errors, print_json, print_table
from cli.failures import CommandError, told
from cli.messages import Json, fields
from parley.tools.v1 import mcp_service_pb2 as pb2
from parley.tools.v1 import tool_pb2
from parley_client.caller import pages
from parley_client.client import Client

app = typer.Typer(help="Outside MCP servers, whose tools join the catalogue.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="SERVER", help="The server's name.")]
Level = Literal["safe", "restricted", "dangerous"]


@app.command("list")
@told
def list_servers(as_json: Json = False) -> None:
    """List your tenant's servers, and those that are everybody's."""
    servers = call(_all)
    if as_json:
        print_json([fields(server) for server in servers])
    else:
        print_table(["server", "reached by", "state", "tools", "problem"], (_row(each) for each in servers))


async def _all(client: Client) -> list[pb2.McpServer]:
    def page(token: str) -> Awaitable[pb2.ListServersResponse]:
        return client.administration.list_mcp_servers(pb2.ListServersRequest(page_token=token))

    return [server async for answer in pages(page) for server in answer.servers]


@app.command()
@told
def show(name: Name, as_json: Json = False) -> None:
    """Show a server, and the names of its tools."""
    server = call(lambda client: client.administration.get_mcp_server(name))
    print_json(fields(server)) if as_json else _tell(server)


@app.command()
@told
def add(
    name: Name,
    command: Annotated[str, typer.Option(help="The name of a command that the operator allows.")] = "",
    url: Annotated[str, typer.Option(help="Instead: where it is, over streamable HTTP.")] = "",
    secret: Annotated[str, typer.Option(help="With --url: the name of a secret that it is sent.")] = "",
    level: Annotated[Level, typer.Option(help="The least level that its tools have.")] = "restricted",
    timeout: Annotated[
        float | None, typer.Option(help="Seconds that one call may take.", min=0.001, max=3600)
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a server for your tenant; one that failed is tried again at once."""
    if bool(command) == bool(url):
        raise CommandError("How the server is reached is not said.", "Give either --command or --url.")
    server = pb2.McpServer(
        name=name, lowest_safety_level=tool_pb2.SafetyLevel.Value(f"SAFETY_LEVEL_{level.upper()}")
    )
    if command:
        server.program.command = command
    else:
        server.address.url, server.address.secret_name = url, secret
    if timeout is not None:
        server.timeout.CopyFrom(Duration(nanos=int(timeout % 1 * 1e9), seconds=int(timeout)))
    added = call(lambda client: client.administration.add_mcp_server(server))
    print_json(fields(added)) if as_json else _tell(added)


@app.command()
@told
def remove(name: Name) -> None:
    """Remove a server of your tenant, with its tools."""
    call(lambda client: client.administration.remove_mcp_server(name))
    answers().print(f"{name} is removed.", markup=False)


def _tell(server: pb2.McpServer) -> None:
    """The server in a line, and a line for each tool."""
    errors().print(f"{server.name} is {_state(server)}. {server.problem}".rstrip(), markup=False)
    for tool in server.tools:
        answers().print(tool, markup=False)


def _state(server: pb2.McpServer) -> str:
    return pb2.McpServerState.Name(server.state).removeprefix("MCP_SERVER_STATE_").lower()


def _row(server: pb2.McpServer) -> list[str]:
    reached = server.program.command if server.HasField("program") else server.address.url
    whose = " (everybody's)" if server.fixed else ""
    return [f"{server.name}{whose}", reached, _state(server), str(len(server.tools)), server.problem]
