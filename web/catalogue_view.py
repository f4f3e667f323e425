"""The tool catalogue: every tool that the person may use, by category."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape

from parley.tools.v1 import tool_pb2
from web.playground.schema import Rule, in_words, properties

_CATEGORIES = {
    tool_pb2.CATEGORY_FILE: "Files",
    tool_pb2.CATEGORY_SYSTEM: "System",
    tool_pb2.CATEGORY_MATH: "Mathematics",
    tool_pb2.CATEGORY_DATA: "Data and text",
    tool_pb2.CATEGORY_WEB: "Web",
    tool_pb2.CATEGORY_DATABASE: "Databases",
    tool_pb2.CATEGORY_UTILITY: "Utilities",
    tool_pb2.CATEGORY_MCP: "Outside servers",
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


def level_badge(safety: tool_pb2.SafetyLevel.ValueType) -> str:
    """How much harm a tool could do, in a word with its meaning behind it."""
    level, meaning = _LEVELS.get(safety, ("dangerous", "Of unknown effect"))
    return f'<span class="p-level p-{level}" title="{meaning}">{level}</span>'


def facts(tool: tool_pb2.Tool) -> str:
    """Limits and permission in a line."""
    told = [f"needs <code>{escape(tool.permission)}</code>"] if tool.permission else []
    if tool.HasField("timeout"):
        told.append(f"at most {tool.timeout.ToTimedelta().total_seconds():g} s")
    if tool.max_output_bytes:
        told.append(f"result up to {tool.max_output_bytes / 1024:,.0f} KiB")
    if tool.idempotent:
        told.append("may be repeated")
    return f'<p class="p-facts">{" · ".join(told)}</p>' if told else ""


def unavailable(tool: tool_pb2.Tool) -> str:
    """Why a tool cannot be called; nothing where it can."""
    if not tool.unavailable:
        return ""
    return f'<p class="p-off"><strong>Cannot be called now.</strong> {escape(tool.unavailable)}</p>'


def _entry(tool: tool_pb2.Tool) -> str:
    off = '<span class="p-level p-dangerous">off</span>' if tool.unavailable else ""
    return (
        f'<details class="p-entry"><summary><span class="p-tool-name">{escape(tool.name)}</span>'
        f"{level_badge(tool.safety_level)}{off}"
        f'<span class="p-description">{escape(tool.description)}</span></summary>'
        f"{unavailable(tool)}{_parameters(tool.parameters_schema)}{facts(tool)}</details>"
    )


def _parameters(schema: str) -> str:
    """The parameters as a table with a row each."""
    rules, required = properties(schema)
    if not rules:
        return '<p class="p-note">Takes no parameters.</p>'
    rows = "".join(_row(name, rule, name in required) for name, rule in rules.items())
    return (
        '<div class="p-table"><table><thead><tr><th>Parameter</th><th>Type</th><th>Meaning</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _row(name: str, rule: Rule, required: bool) -> str:
    flag = (
        '<span class="p-required">required</span>' if required else '<span class="p-optional">optional</span>'
    )
    default = (
        f' <span class="p-default">default {escape(json.dumps(rule["default"]))}</span>'
        if "default" in rule
        else ""
    )
    return (
        f"<tr><td><code>{escape(name)}</code> {flag}</td><td>{escape(in_words(rule))}</td>"
        f"<td>{escape(str(rule.get('description', '')))}{default}</td></tr>"
    )
