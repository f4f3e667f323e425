"""What is made of the words of strangers, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types import Tool, ToolAnnotations

from services.tools.mcp.adapting import SchemaUnusable, cleaned, safety_of, tool_name, usable_schema
from services.tools.mcp.state import StateFile, StateUnusable
from services.tools.settings import McpServerSetting

LEGAL = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


@given(st.text(max_size=300), st.text(max_size=300))
def test_every_name_becomes_a_legal_one_of_its_own(one: str, other: str) -> None:
    names = [tool_name("a-server", name) for name in (one, other)]
    assert all(1 <= len(name) <= 64 and set(name) <= LEGAL for name in names)
    assert all(name.startswith("mcp__a-server__") for name in names)
    assert (names[0] == names[1]) == (one == other)


def test_a_legal_name_stays_as_it_is() -> None:
    assert tool_name("files", "read_file-2") == "mcp__files__read_file-2"


@pytest.mark.parametrize(
    ("claims", "least", "expected"),
    [
        (None, "restricted", "DANGEROUS"),
        ({"read_only_hint": True}, "restricted", "RESTRICTED"),
        ({"read_only_hint": True}, "safe", "SAFE"),
        ({"read_only_hint": True}, "dangerous", "DANGEROUS"),
        ({"destructive_hint": False}, "safe", "RESTRICTED"),
        ({"destructive_hint": True}, "safe", "DANGEROUS"),
        ({"read_only_hint": False}, "safe", "DANGEROUS"),
    ],
)
def test_no_claim_makes_a_tool_safer_than_the_operator_says(
    claims: dict[str, bool] | None, least: Any, expected: str
) -> None:
    annotations = ToolAnnotations(**claims) if claims is not None else None
    found = Tool(name="t", input_schema={"type": "object"}, annotations=annotations)
    setting = McpServerSetting(command="c", lowest_safety_level=least)
    assert safety_of(found, setting).name == expected


@given(st.text(max_size=500))
def test_cleaned_text_controls_nothing(text: str) -> None:
    told = cleaned(text, 100)
    assert len(told) <= 101
    assert all(letter == "\n" or letter.isprintable() or letter.isspace() for letter in told)
    assert not {"\x1b", "\r", "\u202e", "\u2066", "\u200b"} & set(told)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {"type": "string"},
        [],
        None,
        {"properties": {"a": {"$ref": "https://example.com/schema"}}},
        {"properties": {"a": {"type": "nothing"}}},
        {"properties": {"a": float("nan")}},
        {"description": "x" * 40_000},
    ],
)
def test_a_schema_that_cannot_be_used_says_so(schema: Any) -> None:
    with pytest.raises(SchemaUnusable):
        usable_schema(schema)


def test_a_good_schema_keeps_its_meaning_and_loses_its_control_characters() -> None:
    schema = {
        "properties": {"description": {"type": "string", "description": "a\x1b[31m b", "default": "x\ty"}},
        "$defs": {"a": {"type": "integer"}},
        "allOf": [{"properties": {"b": {"$ref": "#/$defs/a"}}}],
    }
    made = usable_schema(schema)
    assert made["type"] == "object"
    assert made["properties"]["description"] == {
        "type": "string",
        "description": "a [31m b",
        "default": "x\ty",
    }
    assert made["allOf"] == schema["allOf"]


@pytest.mark.parametrize("content", ["{", '{"tenants": {"t": {"BAD NAME": {}}}}', '{"other": 1}', "[]"])
def test_a_state_file_that_holds_something_else_is_told(tmp_path: Path, content: str) -> None:
    path = tmp_path / "servers.json"
    path.write_text(content)
    with pytest.raises(StateUnusable, match="does not hold MCP servers"):
        StateFile(path).read()
    with pytest.raises(StateUnusable), StateFile(path).changing():
        pass
    assert path.read_text() == content


def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "deep" / "servers.json")
    with state.changing() as added:
        added["t"] = {"one": McpServerSetting(command="c")}
    before = state.version
    with pytest.raises(KeyError), state.changing() as added:
        del added["t"]["other"]
    assert state.version == before
    assert state.read() == {"t": {"one": McpServerSetting(command="c")}}
