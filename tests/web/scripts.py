"""What the scripted edge has to say in the browser tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc

from parley.inference.v1 import answer_pb2, chat_pb2, model_pb2
from parley.tools.v1 import execution_pb2, tool_pb2
from tests.web.scripted_edge import (
    ScriptedEdge,
    called,
    decided,
    finished,
    needs_approval,
    progressed,
    returned,
    said,
    seconds,
    started,
    status,
    thought,
    used,
)

Events = AsyncIterator[dict[str, Any]]

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


async def arithmetic(edge: ScriptedEdge) -> Events:
    """Reasoning, a call with progress, its result, and the answer."""
    yield started()
    yield thought("The question is a product, ")
    yield thought("so the calculator should do it.")
    yield called("call_1", "calculator", '{"expression":"17 * 23"}')
    yield progressed("call_1", "evaluating", 0.5)
    yield returned("call_1", "calculator", '{"expression":"17 * 23","result":391}')
    yield said(r"17 \* 23 = ")
    yield said("**391**.")
    yield used()
    yield finished()


async def stepwise(edge: ScriptedEdge) -> Events:
    """Each piece waits for the test."""
    yield started()
    for word in ("one ", "two ", "three"):
        await edge.go.acquire()
        yield said(word)
    await edge.go.acquire()
    yield used()
    yield finished()


async def slow_tool(edge: ScriptedEdge) -> Events:
    """A tool that runs until the test lets it end."""
    yield started()
    yield called("call_1", "statistics", '{"data":[4,8,15,16,23,42],"operations":["mean","median"]}')
    yield progressed("call_1", "reading six numbers", 0.4)
    await edge.go.acquire()
    yield returned("call_1", "statistics", '{"mean":18,"median":15.5}')
    yield said("The mean is 18 and the median 15.5.")
    yield used()
    yield finished()


async def endless(edge: ScriptedEdge) -> Events:
    """Says a little and then nothing more until it is cancelled."""
    yield started()
    yield said("Once upon a time")
    await asyncio.Event().wait()


async def hostile(edge: ScriptedEdge) -> Events:
    """Tries to smuggle markup in by every door."""
    yield started()
    yield thought(HOSTILE)
    yield called("call_1", "calculator", json.dumps({"expression": HOSTILE}))
    yield progressed("call_1", HOSTILE)
    yield returned("call_1", "calculator", HOSTILE)
    yield said(HOSTILE + "\n\n![spy](https://spy.invalid/x.png)")
    yield finished()


async def broken(edge: ScriptedEdge) -> Events:
    """A tool fails, then the engine."""
    yield started()
    yield called("call_1", "file_read", '{"file_path":"notes/x.txt"}')
    missing = status(
        grpc.StatusCode.NOT_FOUND,
        "There is no file notes/x.txt in the workspace.",
        "FILE_NOT_FOUND",
        path="notes/x.txt",
    )
    yield returned("call_1", "file_read", '{"error":{"reason":"FILE_NOT_FOUND"}}', missing)
    yield said("I could not find it.")
    failed = status(grpc.StatusCode.UNAVAILABLE, "The engine stopped.", "ENGINE_FAILED", model="parley-demo")
    yield finished(12, failed)


async def dangerous(edge: ScriptedEdge) -> Events:
    """Two calls of one turn wait, each for its own decision."""
    yield started()
    calls = {"call_1": '{"code":"print(1)"}', "call_2": json.dumps({"code": HOSTILE})}
    for call_id, arguments in calls.items():
        yield called(call_id, "python_run", arguments)
        yield needs_approval(call_id, "python_run", arguments)
    for _ in calls:
        decision = await edge.decisions.get()
        call_id = decision.call_id
        if decision.verdict == answer_pb2.APPROVAL_VERDICT_APPROVE:
            yield decided(call_id, chat_pb2.APPROVAL_OUTCOME_APPROVED)
            yield returned(call_id, "python_run", '{"stdout":"1"}')
        else:
            yield decided(call_id, chat_pb2.APPROVAL_OUTCOME_DENIED, "not today")
            no = status(grpc.StatusCode.PERMISSION_DENIED, "The call was denied.", "APPROVAL_DENIED")
            yield returned(call_id, "python_run", "{}", no)
    yield said("Done with both.")
    yield finished()


async def tried(edge: ScriptedEdge) -> Events:
    """An answer of a variant of a rollout."""
    yield started(variant="brief")
    yield said("As you like it.")
    yield finished()


SCRIPTS = {
    "Try it": tried,
    "What is 17 * 23?": arithmetic,
    "Count": stepwise,
    "Mean?": slow_tool,
    "Tell me a story": endless,
    "Attack": hostile,
    "Read notes/x.txt": broken,
    "Run two programs": dangerous,
}


async def product(edge: ScriptedEdge) -> Events:
    """A result at once."""
    yield {"started": execution_pb2.ToolStarted(tool="calculator", queued=seconds(0.25))}
    content = '{"expression":"17 * 23","result":391}'
    yield {"result": execution_pb2.ToolResult(content=content, duration=seconds(0.012))}


async def no_file(edge: ScriptedEdge) -> Events:
    """An error."""
    yield {"started": execution_pb2.ToolStarted(tool="file_read")}
    yield {
        "status": status(
            grpc.StatusCode.NOT_FOUND,
            "There is no file x.txt in the workspace.",
            "FILE_NOT_FOUND",
            path="x.txt",
        )
    }


async def program(edge: ScriptedEdge) -> Events:
    """A program that prints, when the test lets it, until it is cancelled."""
    yield {"started": execution_pb2.ToolStarted(tool="python_run")}
    yield {"progress": execution_pb2.ToolProgress(message="running the code", fraction=0.5)}
    yield {"output": execution_pb2.ToolOutput(text=f"first line {HOSTILE}\n")}
    while True:
        await edge.go.acquire()
        yield {"output": execution_pb2.ToolOutput(text="another line\n" * 5000)}


TOOL_SCRIPTS = {"calculator": product, "file_read": no_file, "python_run": program}

MODELS = [
    model_pb2.Model(
        name="parley-demo",
        context_length=2048,
        is_default=True,
        state=model_pb2.MODEL_STATE_READY,
        supports_reasoning=True,
        supports_tools=True,
    ),
    model_pb2.Model(name="gpt-oss-20b", context_length=131_072, state=model_pb2.MODEL_STATE_LOADING),
]


def _tool(
    name: str,
    category: tool_pb2.Category,
    description: str,
    parameters: dict[str, Any],
    required: tuple[str, ...],
    level: tool_pb2.SafetyLevel.ValueType = tool_pb2.SAFETY_LEVEL_SAFE,
    *,
    unavailable: str = "",
    examples: tuple[tuple[str, dict[str, Any]], ...] = (),
) -> tool_pb2.Tool:
    room = tool_pb2.Category.Name(category).removeprefix("CATEGORY_").lower()
    return tool_pb2.Tool(
        name=name,
        category=category,
        description=description,
        parameters_schema=json.dumps(
            {"type": "object", "properties": parameters, "required": list(required)}
        ),
        safety_level=level,
        timeout=seconds(5),
        max_output_bytes=262_144,
        idempotent=True,
        permission=f"tools.{room}.{name}",
        unavailable=unavailable,
        examples=[
            tool_pb2.ToolExample(title=title, arguments=json.dumps(arguments), result="{}")
            for title, arguments in examples
        ],
    )


TOOLS = [
    _tool(
        "calculator",
        tool_pb2.CATEGORY_MATH,
        "Evaluates an arithmetic expression exactly.",
        {
            "expression": {
                "type": "string",
                "description": "What to evaluate, for example 17 * 23.",
                "minLength": 1,
                "maxLength": 1000,
            },
            "numbers": {"enum": ["real", "complex", "units"], "default": "real", "description": "Which."},
        },
        ("expression",),
        examples=(
            ("Multiply", {"expression": "17 * 23"}),
            ("Complex numbers", {"expression": "(3 + 2i) ** 2", "numbers": "complex"}),
        ),
    ),
    _tool(
        "statistics",
        tool_pb2.CATEGORY_MATH,
        "Describes a list of numbers.",
        {
            "data": {"type": "array", "items": {"type": "number"}, "description": "The numbers."},
            "operations": {
                "type": "array",
                "items": {"enum": ["mean", "median", "mode"]},
                "description": "What to work out.",
                "default": ["mean"],
            },
        },
        ("data",),
    ),
    _tool(
        "time_now",
        tool_pb2.CATEGORY_UTILITY,
        "Tells the time in a city or time zone.",
        {"timezone": {"type": "string", "description": "A city or an IANA zone.", "default": "UTC"}},
        (),
    ),
    _tool(
        "file_list",
        tool_pb2.CATEGORY_FILE,
        "Lists a folder of your workspace.",
        {
            "directory": {"type": "string", "description": "The folder.", "default": "."},
            "pattern": {"type": "string", "description": "Only names that match.", "default": "*"},
            "recursive": {"type": "boolean", "description": "Folders within it too.", "default": False},
        },
        (),
        tool_pb2.SAFETY_LEVEL_RESTRICTED,
    ),
    _tool(
        "file_read",
        tool_pb2.CATEGORY_FILE,
        "Reads a text file of your workspace.",
        {
            "file_path": {"type": "string", "description": "The file, relative to the workspace."},
            "encoding": {
                "anyOf": [{"type": "string"}, {"type": "null"}],
                "description": "Default: detected.",
                "default": None,
            },
        },
        ("file_path",),
        tool_pb2.SAFETY_LEVEL_RESTRICTED,
    ),
    _tool(
        "python_run",
        tool_pb2.CATEGORY_UTILITY,
        "Runs Python code in a sandbox without a network.",
        {
            "code": {"type": "string", "minLength": 1, "maxLength": 65536, "description": "What to run."},
            "arguments": {
                "type": "array",
                "items": {"type": "string"},
                "maxItems": 64,
                "default": [],
                "description": "What the code finds in sys.argv.",
            },
            "timeout_seconds": {
                "type": "integer",
                "minimum": 1,
                "maximum": 300,
                "default": 30,
                "description": "Seconds after which the code is ended.",
            },
        },
        ("code",),
        tool_pb2.SAFETY_LEVEL_DANGEROUS,
        examples=(("Add up", {"code": "print(sum(range(101)))"}),),
    ),
    _tool(
        "db_query",
        tool_pb2.CATEGORY_DATABASE,
        "Reads from a SQL source.",
        {"statement": {"type": "string", "description": "One SELECT."}},
        ("statement",),
        tool_pb2.SAFETY_LEVEL_RESTRICTED,
        unavailable="No SQL source is configured (PARLEY_TOOLS_SOURCES).",
    ),
]
