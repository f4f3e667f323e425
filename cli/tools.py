"""`parley tools`: what models may use, and a call by hand."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict

from cli.connection import call
from cli.console import answers, errors, print_json, print_json_line, print_table
from cli.failures import CommandError, told
from parley.tools.v1 import execution_pb2, tool_pb2
from parley_client.client import Client
from parley_client.errors import from_status

app = typer.Typer(help="The tools that models may use.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Write JSON for scripts.")]


@app.command("list")
@told
def list_tools(as_json: Json = False) -> None:
    """List the tools that you may use."""
    tools = call(Client.list_tools)
    if as_json:
        print_json([MessageToDict(tool, preserving_proto_field_name=True) for tool in tools])
    else:
        print_table(
            ["tool", "category", "level", "arguments", "what it does"], (_row(tool) for tool in tools)
        )


@app.command("call")
@told
def call_tool(
    name: Annotated[str, typer.Argument(help="The tool's name.")],
    arguments: Annotated[str, typer.Argument(help="Its arguments as a JSON object.")] = "{}",
    as_json: Json = False,
) -> None:
    """Call a tool and show what happens. The result goes to standard output."""
    check_json(arguments)

    async def run(client: Client) -> None:
        async with client.execute(name, arguments) as events:
            async for event in events:
                _show_line(event) if as_json else _show(event)

    call(run)


def check_json(arguments: str) -> None:
    """Finds out whether the arguments are JSON, where a slip of the shell's quotes is still easy to see.

    Raises:
        CommandError: They are not.
    """
    try:
        json.loads(arguments)
    except ValueError as error:
        message = f"The arguments are not JSON: {error}."
        raise CommandError(message, 'Quote them as one word: \'{"expression": "17 * 23"}\'.') from None


def _row(tool: tool_pb2.Tool) -> list[str]:
    schema = json.loads(tool.parameters_schema)
    required = schema.get("required", [])
    names = [name if name in required else f"{name}?" for name in schema.get("properties", {})]
    category = tool_pb2.Category.Name(tool.category).removeprefix("CATEGORY_").lower()
    level = tool_pb2.SafetyLevel.Name(tool.safety_level).removeprefix("SAFETY_LEVEL_").lower()
    return [tool.name, category, level, ", ".join(names), tool.description.split("\n")[0]]


def _show_line(event: execution_pb2.ToolEvent) -> None:
    print_json_line(MessageToDict(event, preserving_proto_field_name=True))
    if event.HasField("error"):
        raise from_status(event.error)


def _show(event: execution_pb2.ToolEvent) -> None:
    match event.WhichOneof("event"):
        case "progress":
            errors().print(event.progress.message, style="dim", markup=False)
        case "output":
            errors().print(event.output.text, end="", markup=False)
        case "result":
            answers().print(event.result.content, markup=False)
        case "error":
            raise from_status(event.error)
