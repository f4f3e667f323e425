"""A caller with a workspace, and a short way to run a tool for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.tools.arguments import parse_arguments
from services.tools.catalogue import Tool, WorkerCall
from services.tools.workspace import Owner, Workspaces

OWNER = Owner("tenant-1", "ada")

Use = Callable[..., Any]
"""Runs a tool with these arguments and gives its result as JSON."""


@pytest.fixture
def call(workspaces: Workspaces) -> WorkerCall:
    workspaces.check()
    with workspaces.open(OWNER):
        return WorkerCall(OWNER, workspaces, lambda _what: None)


@pytest.fixture
def home(call: WorkerCall) -> Path:
    return call.workspaces.root / "tenant-1" / "ada"


@pytest.fixture
def use(call: WorkerCall) -> Use:
    def run(tool: Tool, **arguments: object) -> Any:
        parsed = parse_arguments(tool, json.dumps(arguments), 2**22)
        return json.loads(tool.run(parsed, call).to_json())

    return run
