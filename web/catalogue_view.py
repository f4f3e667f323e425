"""The tool catalogue: every tool that the person may use, by category."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from parley.tools.v1 import tool_pb2

_CATEGORIES = {
    tool_pb2.CATEGORY_FILE: "Files",
    tool_pb2.CATEGORY_SYSTEM: "System",
    tool_pb2.CATEGORY_MATH: "Mathematics",
    tool_pb2.CATEGORY_DATA: "Data and text",
    tool_pb2.CATEGORY_WEB: "Web",
    tool_pb2.CATEGORY_DATABASE: "Databases",
    tool_pb2.CATEGORY_UTILITY: "Utilities",
}

_LEVELS = {
    tool_pb2.SAFETY_LEVEL_SAFE: ("safe", "Reads what is given, and nothing else"),
    tool_pb2.SAFETY_LEVEL_RESTRICTED: ("restricted", "Reaches your workspace or a configured source"),
    tool_pb2.SAFETY_LEVEL_DANGEROUS: ("dangerous", "Runs code or reaches outside"),
}


def catalogue(tools: Iterable[tool_pb2.Tool]) -> str:
    """All tools as HTML, grouped by category in the contract's order."""
    groups: dict[tool_pb2.Category.ValueType, list[tool_pb2.Tool]] = {}
    for tool in tools:
        groups.setdefault(tool.category, []).append(tool)
    if not groups:
        return '<p class="p-note">There is no tool that you may use. Ask an administrator for permission.</p>'
    return "".join(_group(category, groups[category]) for category in sorted(groups))


def _group(category: tool_pb2.Category.ValueType, tools: list[tool_pb2.Tool]) -> str:
    name = _CATEGORIES.get(category, "Other")
    entries = "".join(_entry(tool) for tool in sorted(tools, key=lambda tool: tool.name))
    heading = f'<h2>{name} <span class="p-count">{len(tools)}</span></h2>'
    return f'<section class="p-group">{heading}{entries}</section>'


def _entry(tool: tool_pb2.Tool) -> str:
    level, meaning = _LEVELS.get(tool.safety_level, ("dangerous", "Of unknown effect"))
    return (
        f'<details class="p-entry"><summary><span class="p-tool-name">{escape(tool.name)}</span>'
        f'<span class="p-level p-{level}" title="{meaning}">{level}</span>'
        f'<span class="p-description">{escape(tool.description)}</span></summary>'
        f"{_parameters(tool.parameters_schema)}{_facts(tool)}</details>"
    )


def _parameters(schema: str) -> str:
    """The parameters as a table with a row each."""
    properties, required = _read(schema)
    if not properties:
        return '<p class="p-note">Takes no parameters.</p>'
    rows = "".join(_row(name, rule, name in required) for name, rule in properties.items())
    return (
        '<div class="p-table"><table><thead><tr><th>Parameter</th><th>Type</th><th>Meaning</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _read(schema: str) -> tuple[Mapping[str, Any], frozenset[str]]:
    """Properties and required names of a JSON Schema; nothing where it cannot be read."""
    try:
        parsed = json.loads(schema)
    except (ValueError, RecursionError):
        return {}, frozenset()
    properties = parsed.get("properties") if isinstance(parsed, dict) else None
    if not isinstance(properties, dict):
        return {}, frozenset()
    required = parsed.get("required")
    return properties, frozenset(map(str, required)) if isinstance(required, list) else frozenset()


def _row(name: str, rule: Any, required: bool) -> str:
    rule = rule if isinstance(rule, dict) else {}
    flag = (
        '<span class="p-required">required</span>' if required else '<span class="p-optional">optional</span>'
    )
    default = (
        f' <span class="p-default">default {escape(json.dumps(rule["default"]))}</span>'
        if "default" in rule
        else ""
    )
    return (
        f"<tr><td><code>{escape(name)}</code> {flag}</td><td>{escape(_type(rule))}</td>"
        f"<td>{escape(str(rule.get('description', '')))}{default}</td></tr>"
    )


def _type(rule: Mapping[str, Any]) -> str:
    """A type in words: `integer`, `list of number`, `"a" or "b"`."""
    if isinstance(rule.get("enum"), list):
        return " or ".join(json.dumps(value, ensure_ascii=False) for value in rule["enum"])
    choices = rule.get("anyOf") or rule.get("oneOf")
    if isinstance(choices, list):
        names = [_type(choice) for choice in choices if isinstance(choice, dict)]
        return " or ".join(name for name in names if name != "null")
    kind = rule.get("type", "any")
    if kind == "array" and isinstance(rule.get("items"), dict):
        return f"list of {_type(rule['items'])}"
    return " or ".join(map(str, kind)) if isinstance(kind, list) else str(kind)


def _facts(tool: tool_pb2.Tool) -> str:
    """Limits and permission in a line."""
    facts = [f"needs <code>{escape(tool.permission)}</code>"] if tool.permission else []
    if tool.HasField("timeout"):
        facts.append(f"at most {tool.timeout.ToTimedelta().total_seconds():g} s")
    if tool.max_output_bytes:
        facts.append(f"result up to {tool.max_output_bytes / 1024:,.0f} KiB")
    if tool.idempotent:
        facts.append("may be repeated")
    return f'<p class="p-facts">{" · ".join(facts)}</p>' if facts else ""
