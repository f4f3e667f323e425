"""The guide's pages of tools, made from their schemas and examples."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from services.tools.builtin.database.sources import Sources
from services.tools.builtin.database.toolset import database_tools
from services.tools.builtin.llm_chat import llm_chat_tool
from services.tools.builtin.python.run import python_tools
from services.tools.builtin.rooms import BUILT_IN
from services.tools.builtin.system import system_tools
from services.tools.builtin.web.toolset import web_tools
from services.tools.catalogue import Category, Example, Tool
from services.tools.settings import ToolsSettings
from services.tools.workspace import Workspaces

FOLDER = "tools"
NOTE = "<!-- Made by docs/generate.py from the tool's schema; change the tool instead. -->"
_BOUNDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "above {}",
    "exclusiveMaximum": "below {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
}


def tool_pages() -> dict[str, str]:
    """Every page's text, by its path below the guide."""
    tools = sorted(documented_tools(), key=lambda entry: entry.name)
    made = {f"{FOLDER}/{entry.name}.md": "\n".join([*_lines(entry), ""]) for entry in tools}
    return {f"{FOLDER}/README.md": "\n".join([*_index(tools), ""])} | made


def documented_tools() -> tuple[Tool, ...]:
    """All tools that Parley brings along, whatever a machine's settings switch off."""
    nowhere = Path("/nowhere")
    workspaces = Workspaces(nowhere, None)
    settings = ToolsSettings(
        tls_certificate_path=nowhere,
        tls_private_key_path=nowhere,
        tls_authority_path=nowhere,
        auth_address="localhost:1",
        workspace_path=nowhere,
    )
    return (
        *BUILT_IN,
        *web_tools(settings, _resolve_nothing),
        *database_tools(Sources({})),
        *system_tools(workspaces, {}),
        *python_tools(None, workspaces),
        llm_chat_tool(None),
    )


async def _resolve_nothing(_host: str) -> Sequence[str]:
    return ()


def _index(tools: Iterable[Tool]) -> Iterator[str]:
    yield from [NOTE, "", "# Tools", ""]
    yield "Each page is made from the tool's schema. The test suite runs the examples; those that ask"
    yield "a server ask one of its own. `parley tools list` shows what you may use."
    yield "[Write your own](../write-a-tool.md) in ten lines."
    for category in Category:
        room = [entry for entry in tools if entry.category is category]
        if room:
            yield from ["", f"## {category.name.capitalize()}", ""]
            yield from ["| Tool | What it does | Safety |", "|---|---|---|", *map(_index_row, room)]


def _index_row(entry: Tool) -> str:
    link = f"[`{entry.name}`]({entry.name}.md)"
    return f"| {link} | {_cell(entry.description)} | {entry.safety.name.lower()} |"


def _lines(entry: Tool) -> Iterator[str]:
    yield from [NOTE, "", f"# {entry.name}", "", entry.description, ""]
    yield from ["| Fact | |", "|---|---|"]
    yield f"| Permission | `{entry.permission}` |"
    yield f"| Safety | {entry.safety.name.lower()} |"
    yield f"| Time limit | {entry.timeout_seconds:g} s |"
    yield f"| Output limit | {entry.max_output_bytes:,} bytes |"
    yield f"| Repeating a call | {'changes nothing' if entry.idempotent else 'does it again'} |"
    yield from ["", "## Arguments", ""]
    yield from _table(json.loads(entry.message.parameters_schema), "Needed")
    yield from ["", "## Result", ""]
    yield from _table(json.loads(entry.message.result_schema), "Always")
    for example in entry.examples:
        yield from _example(entry, example)


def _table(schema: Mapping[str, Any], needed_title: str) -> Iterator[str]:
    fields = schema.get("properties", {})
    if not fields:
        yield "None."
        return
    required = schema.get("required", ())
    yield from [f"| Name | Type | {needed_title} | What it is |", "|---|---|---|---|"]
    for name, field in fields.items():
        needed = "yes" if name in required else _default(field)
        told = " ".join([field.get("description", ""), *_bounds(field)]).strip()
        yield f"| `{name}` | {_cell(_type(field, schema))} | {needed} | {_cell(told)} |"


def _default(field: Mapping[str, Any]) -> str:
    value = field.get("default")
    return "no" if value in (None, "", [], {}) else f"no; `{json.dumps(value)}`"


def _bounds(field: Mapping[str, Any]) -> Iterator[str]:
    """A field's limits in words."""
    found = [
        words.format(f"{part[key]:,}" if isinstance(part[key], int) else part[key])
        for part in _alternatives(field)
        for key, words in _BOUNDS.items()
        if key in part and not (key in ("minLength", "minItems") and part[key] <= 1)
    ]
    if found:
        yield f"({', '.join(found)})"


def _alternatives(field: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [part for part in field.get("anyOf", [field]) if part.get("type") != "null"]


def _type(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A field's type in words."""
    if "$ref" in field:
        return _type(schema["$defs"][field["$ref"].rpartition("/")[2]], schema)
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(part, schema) for part in _alternatives(field)))
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}), schema)}"
    if field.get("properties"):
        return f"object of {', '.join(field['properties'])}"
    return str(field.get("type", "any JSON"))


def _example(entry: Tool, example: Example) -> Iterator[str]:
    yield from ["", f"## Example: {example.title[0].lower()}{example.title[1:]}", ""]
    for path, text in example.files.items():
        yield from [f"With `{path}` in the workspace:", "", "```", text.rstrip("\n"), "```", ""]
    arguments = json.dumps(example.arguments, ensure_ascii=False)
    yield from ["```", f"parley tools call {entry.name} {shlex.quote(arguments)}", "```", ""]
    yield "gives, for instance:" if example.varies else "gives:"
    yield from ["", "```json", json.dumps(example.result, indent=2, ensure_ascii=False), "```"]


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
