"""`parley tools`: what models may use, a call by hand, and how calls went."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict

from cli.connection import call
from cli.console import answers, errors, print_json, print_json_line, print_table
from cli.failures import CommandError, told
from parley.tools.v1 import execution_pb2, stats_pb2, tool_pb2
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


@app.command("show")
@told
def show_tool(name: Annotated[str, typer.Argument(help="The tool's name.")], as_json: Json = False) -> None:
    """Show one tool: what it takes and gives, its limits, and calls that work."""
    tool = call(lambda client: client.get_tool(name))
    if as_json:
        shown = MessageToDict(
            tool, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        for schema in ("parameters_schema", "result_schema"):
            shown[schema] = json.loads(shown[schema] or "{}")
        print_json(shown)
        return
    answers().print("\n".join(_described(tool)), markup=False)
    print_table(["argument", "type", "needed", "what it is"], _arguments(tool))
    for example in tool.examples:
        answers().print(f"\n{example.title}:\n  {example.arguments}\n  {example.result}", markup=False)


@app.command("call")
@told
def call_tool(
    name: Annotated[str, typer.Argument(help="The tool's name.")],
    arguments: Annotated[
        str, typer.Argument(help="Its arguments as a JSON object; - reads them from standard input.")
    ] = "{}",
    timeout: Annotated[
        float | None, typer.Option(help="Seconds that it may take, if less than its own limit.", min=0.001)
    ] = None,
    key: Annotated[
        str, typer.Option(help="Idempotency key: asked again with it, the first result is given again.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Call a tool and show what happens. The result goes to standard output."""
    text = sys.stdin.read() if arguments == "-" else arguments
    check_json(text)

    async def run(client: Client) -> None:
        async with client.execute(name, text, timeout_seconds=timeout, idempotency_key=key) as events:
            async for event in events:
                _show_line(event) if as_json else _show(event)

    call(run)


@app.command("stats")
@told
def show_stats(
    tool: Annotated[str, typer.Option(help="Only calls of this tool.")] = "",
    user: Annotated[str, typer.Option(help="Only calls of this user, by id.")] = "",
    reset: Annotated[bool, typer.Option("--reset", help="Show them, and start anew.")] = False,
    as_json: Json = False,
) -> None:
    """Show how calls went: how many, what failed, how long they took and waited."""
    stats = call(lambda client: client.tool_stats(tool, user))
    if as_json:
        print_json(MessageToDict(stats, preserving_proto_field_name=True))
    else:
        headings = ["calls", "errors", "run p50", "p95", "queued p50", "p95"]
        print_table(["tool", *headings], ([entry.tool, *_figures(entry.stats)] for entry in stats.tools))
        print_table(
            ["user", *headings],
            ([entry.user_id or "(others)", *_figures(entry.stats)] for entry in stats.callers),
        )
        since = stats.since.ToDatetime().isoformat(" ", "seconds")
        queue = f"{stats.queue.running} running, {stats.queue.waiting} waiting"
        errors().print(f"Since {since} UTC; now {queue}.", markup=False)
    if reset:
        call(Client.reset_tool_stats)


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
    description = f"(off: {tool.unavailable})" if tool.unavailable else tool.description.split("\n")[0]
    return [tool.name, category, level, ", ".join(names), description]


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


def _described(tool: tool_pb2.Tool) -> Iterator[str]:
    yield tool.description
    yield ""
    if tool.unavailable:
        yield f"Switched off here: {tool.unavailable}"
    level = tool_pb2.SafetyLevel.Name(tool.safety_level).removeprefix("SAFETY_LEVEL_").lower()
    repeat = "safe to repeat" if tool.idempotent else "not safe to repeat"
    limits = f"at most {tool.timeout.ToNanoseconds() / 1e9:g} s and {tool.max_output_bytes} bytes"
    yield f"{level}, {repeat}, {limits}; needs {tool.permission}"
    yield ""


def _arguments(tool: tool_pb2.Tool) -> Iterator[list[str]]:
    schema = json.loads(tool.parameters_schema)
    for name, field in schema.get("properties", {}).items():
        yield [name, _type(field), _needed(name, schema), field.get("description", "")]


def _needed(name: str, schema: dict[str, Any]) -> str:
    """Whether an argument is needed, and what stands in for it where it is not."""
    if name in schema.get("required", []):
        return "yes"
    default = schema["properties"][name].get("default")
    return "no" if default is None else f"no ({json.dumps(default)})"


def _type(field: dict[str, Any]) -> str:
    """The type of a field in a word."""
    if "enum" in field:
        return " or ".join(json.dumps(value) for value in field["enum"])
    kinds = [_type(option) for option in field.get("anyOf", [])]
    if kinds:
        return " or ".join(kind for kind in kinds if kind != "null")
    return str(field.get("type", "any"))


def _figures(stats: stats_pb2.CallStats) -> list[str]:
    failed = ", ".join(f"{error.reason} {error.calls}" for error in stats.errors)
    times = (stats.run_p50, stats.run_p95, stats.queued_p50, stats.queued_p95)
    return [str(stats.calls), failed, *(_milliseconds(time) for time in times)]


def _milliseconds(time: Duration) -> str:
    return f"{time.ToNanoseconds() / 1e6:.3g} ms" if time.ByteSize() else "-"
