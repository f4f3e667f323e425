"""Every example of every built-in tool is run: what the guide shows is what happens."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from docs.tool_pages import documented_tools
from services.tools.arguments import parse_arguments
from services.tools.builtin.rooms import BUILT_IN
from services.tools.builtin.system import system_tools
from services.tools.catalogue import Example, LoopCall, Tool, WorkerCall
from services.tools.workspace import Workspaces
from tests.conftest import TokenMaker
from tests.tools.builtin.conftest import OWNER
from tests.tools.conftest import discard

SYSTEM = system_tools(Workspaces(Path("/"), None), {"TZ": "UTC"})
EXAMPLES = [
    pytest.param(entry, example, id=f"{entry.name}-{number}")
    for entry in (*BUILT_IN, *SYSTEM)
    for number, example in enumerate(entry.examples, 1)
]


@pytest.mark.parametrize(("entry", "example"), EXAMPLES)
async def test_an_example_gives_what_it_says(
    entry: Tool, example: Example, tmp_path: Path, tokens: TokenMaker
) -> None:
    call = WorkerCall(OWNER, Workspaces(tmp_path, None), lambda _what: None)
    home = tmp_path / OWNER.tenant_id / OWNER.user_id
    home.mkdir(parents=True)
    for path, text in example.files.items():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text(text)
    arguments = parse_arguments(entry, json.dumps(example.arguments), 2**20)
    if entry.in_worker:
        result = entry.run(arguments, call)
    else:
        result = entry.run(arguments, LoopCall(tokens.principal(), discard))
    made = json.loads((await result if inspect.isawaitable(result) else result).to_json())
    Draft202012Validator(json.loads(entry.message.result_schema)).validate(made)
    if example.varies:
        assert made.keys() == example.result.keys()
    else:
        assert made == example.result


@pytest.mark.parametrize("entry", documented_tools(), ids=lambda entry: entry.name)
def test_every_tool_has_an_example_that_is_not_empty_words(entry: Tool) -> None:
    assert entry.examples
    assert all(example.title and example.result for example in entry.examples)


def test_no_two_tools_have_one_name() -> None:
    names = [entry.name for entry in documented_tools()]
    assert len(set(names)) == len(names) == 31
