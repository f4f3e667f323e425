from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator

import pytest

from services.rpc.principal import Principal
from services.tools.builtin.machine import processes
from services.tools.builtin.system import shown_variables, system_tools
from services.tools.catalogue import LoopCall, Tool
from services.tools.errors import VariableNotShown
from services.tools.workspace import Workspaces
from tests.conftest import TokenMaker

Call = Callable[..., Awaitable[dict[str, object]]]
SHOWN = {"LANG": "C.UTF-8", "PARLEY_TOOLS_WORKERS": "2"}


async def ignore(_what: object) -> None:
    """Nobody listens."""


@pytest.fixture
def principal(tokens: TokenMaker) -> Principal:
    return tokens.principal("tools.*")


@pytest.fixture
def tools(workspaces: Workspaces) -> dict[str, Tool]:
    workspaces.check()
    return {entry.name: entry for entry in system_tools(workspaces, SHOWN)}


@pytest.fixture
def call(tools: dict[str, Tool], principal: Principal) -> Call:
    async def calling(name: str, **arguments: object) -> dict[str, object]:
        entry = tools[name]
        result = await entry.run(entry.arguments(**arguments), LoopCall(principal, ignore))
        return json.loads(result.to_json())

    return calling


async def test_every_example_works(tools: dict[str, Tool], call: Call) -> None:
    for entry in tools.values():
        for example in entry.examples:
            assert (await call(entry.name, **example.arguments)).keys() == example.result.keys()


@pytest.mark.parametrize("kind", ["os", "cpu", "memory", "disk", "network"])
async def test_it_tells_what_is_asked(call: Call, kind: str) -> None:
    assert list(await call("system_info", info_type=kind)) == [kind]


async def test_it_tells_all(call: Call) -> None:
    told = await call("system_info")
    assert list(told) == ["os", "cpu", "memory", "disk", "network"]
    assert told["cpu"]["usable_count"] >= 1
    assert told["memory"]["total_bytes"] > 0


async def test_neither_name_nor_address_of_the_machine_is_told(call: Call) -> None:
    told = json.dumps([await call(name) for name in ("system_info", "network_info", "process_list")])
    assert socket.gethostname() not in told.split('"')
    assert "127.0.0.1" not in told
    assert "address" not in told


async def test_the_disk_and_the_workspace(call: Call, workspaces: Workspaces, principal: Principal) -> None:
    told = await call("disk_usage")
    assert told["workspace_used_bytes"] == len("Welcome!\n- water the plants\n")
    assert told["workspace_used_entries"] == 3
    assert told["workspace_limit_bytes"] == workspaces.limits.bytes


@pytest.fixture
def worker() -> Iterator[None]:
    """A process that looks like a worker."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()", "services.tools.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        yield
        child.communicate(b"")


async def test_only_the_service_s_own_processes_are_listed(call: Call, worker: None) -> None:
    told = await call("process_list", sort_by="memory", limit=100)
    roles = [process["role"] for process in told["processes"]]
    assert roles.count("service") == 1
    assert "worker" in roles
    assert told["total"] == len(roles)
    assert told["processes"][0].keys() == {"role", "cpu_seconds", "memory_bytes", "age_seconds"}
    sizes = [process["memory_bytes"] for process in told["processes"]]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("order", ["cpu", "name"])
async def test_the_list_is_cut(call: Call, order: str) -> None:
    told = await call("process_list", sort_by=order, limit=1)
    assert len(told["processes"]) == 1


def test_a_process_that_ends_meanwhile_is_left_out() -> None:
    assert [process.role for process in processes()].count("service") == 1


async def test_variables_that_are_shown(call: Call) -> None:
    assert await call("env_get") == {"variables": SHOWN}
    assert await call("env_get", var_name="LANG") == {"variables": {"LANG": "C.UTF-8"}}


@pytest.mark.parametrize("name", ["PATH", "HOME", "PARLEY_TOOLS_STORE_URL", "lang"])
async def test_variables_that_are_not(call: Call, name: str) -> None:
    os.environ.setdefault("PARLEY_TEST", "x")
    with pytest.raises(VariableNotShown, match=r"Shown are LANG, PARLEY_TOOLS_WORKERS") as caught:
        await call("env_get", var_name=name)
    assert caught.value.metadata == {"name": name}


async def test_without_any_it_says_so(workspaces: Workspaces, principal: Principal) -> None:
    env_get = system_tools(workspaces, {})[-1]
    with pytest.raises(VariableNotShown, match="None are shown"):
        await env_get.run(env_get.arguments(var_name="PATH"), LoopCall(principal, ignore))


@pytest.mark.parametrize(
    "name",
    [
        "API_KEY",
        "PARLEY_INFERENCE_STORE_URL",
        "github_token",
        "DB_PASSWORD",
        "MYSQL_PWD",
        "AWS_SECRET_ACCESS_KEY",
        "SENTRY_DSN",
        "SESSION",
        "AUTHORIZATION",
    ],
)
def test_what_sounds_like_a_secret_is_never_shown(name: str) -> None:
    assert shown_variables({name: "hunter2", "LANG": "C"}, [name, "LANG", "MISSING"]) == {"LANG": "C"}
