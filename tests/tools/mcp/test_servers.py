"""Servers that are added, listed and removed over the wire."""

from __future__ import annotations

import json
import os
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY

from parley.tools.v1 import mcp_service_pb2 as pb2
from parley.tools.v1 import tool_pb2
from services.rpc.errors import ServiceError
from services.tools.catalogue import Catalogue, SafetyLevel
from services.tools.mcp.link import Pauses, State
from services.tools.mcp.servers import McpServers
from services.tools.mcp.state import StateFile
from tests.tools.conftest import outcome, reason
from tests.tools.mcp.conftest import NOWHERE, SECONDS, TOKEN, House, eventually, http_server

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def add(house: House, name: str, *, tenant: str = "tenant-1", **fields: Any) -> pb2.McpServer:
    request = pb2.AddServerRequest(server=pb2.McpServer(name=name, **fields))
    answer = await house.mcp.AddServer(request, metadata=house.metadata(tenant=tenant), timeout=SECONDS)
    server: pb2.McpServer = answer.server
    return server


async def remove(house: House, name: str, tenant: str = "tenant-1") -> None:
    request = pb2.RemoveServerRequest(name=name)
    await house.mcp.RemoveServer(request, metadata=house.metadata(tenant=tenant), timeout=SECONDS)


async def names(house: House, tenant: str = "tenant-1") -> list[str]:
    answer = await house.mcp.ListServers(
        pb2.ListServersRequest(), metadata=house.metadata(tenant=tenant), timeout=SECONDS
    )
    return [server.name for server in answer.servers]


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return outcome(caught.value)


async def test_a_server_on_the_network_is_used_with_its_secret_dies_and_returns(house: House) -> None:
    async with http_server(house.port):
        address = {"url": house.url, "secret_name": "token"}
        await add(house, "wide", address=address)
        await house.ready("wide")
        result, _ = await house.call("mcp__wide__headers")
        assert json.loads(json.loads(result.content)["text"])["authorization"] == f"Bearer {TOKEN}"
        _, told = await house.call("mcp__wide__steps")
        assert told
        shown = await house.mcp.GetServer(
            pb2.GetServerRequest(name="wide"), metadata=house.metadata(), timeout=SECONDS
        )
    assert TOKEN not in str(shown)
    assert (shown.server.address.secret_name, shown.server.fixed) == ("token", False)
    assert "mcp__wide__echo" in shown.server.tools
    with pytest.raises(ServiceError) as caught:
        await house.call("mcp__wide__gentle")
    assert reason(caught.value) in ("MCP_SERVER_UNAVAILABLE", "TOOL_DISABLED")
    link = house.link("wide")
    await eventually(lambda: link.state is State.FAILED and house.find("mcp__wide__gentle") is None)
    async with http_server(house.port):
        again = await add(house, "wide", address=address)
        assert again.state == pb2.MCP_SERVER_STATE_READY
        await house.ready("wide")
        result, _ = await house.call("mcp__wide__gentle")
    assert json.loads(result.content)["text"] == "ok"
    await remove(house, "wide")
    assert "wide" not in await names(house)


async def test_a_program_is_started_for_one_tenant_and_ended_with_all_it_started(house: House) -> None:
    added = await add(house, "mine", program={"command": "outside"})
    assert added.state == pb2.MCP_SERVER_STATE_READY
    assert added.lowest_safety_level == tool_pb2.SAFETY_LEVEL_RESTRICTED
    await house.ready("mine")
    assert house.find("mcp__mine__echo").safety is SafetyLevel.RESTRICTED
    assert not house.find("mcp__mine__echo").idempotent
    assert house.find("mcp__mine__echo", "tenant-2") is None
    assert "mine" not in await names(house, "tenant-2")
    result, _ = await house.call("mcp__mine__orphan")
    child = int(json.loads(result.content)["text"])
    os.kill(child, 0)
    await remove(house, "mine")
    assert await eventually(lambda: not _lives(child))
    assert house.find("mcp__mine__echo") is None


def _lives(pid: int) -> bool:
    """Whether a process runs; who was killed may wait for somebody to take note."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_server_that_fails_is_left_alone_for_longer_each_time() -> None:
    pauses = Pauses()
    assert [pauses.after(1) for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    assert [pauses.after(31), pauses.after(1)] == [0.5, 1]


def failures() -> float:
    return REGISTRY.get_sample_value("parley_mcp_failures_total") or 0


async def test_a_server_that_does_not_answer_is_added_and_says_why(house: House) -> None:
    failed = failures()
    nobody = await add(house, "nobody", address={"url": NOWHERE})
    missing = await add(house, "missing", program={"command": "missing"})
    unread = await add(house, "unread", address={"url": NOWHERE, "secret_name": "gone"})
    assert {server.state for server in (nobody, missing, unread)} == {pb2.MCP_SERVER_STATE_FAILED}
    assert "cannot be reached" in nobody.problem
    assert missing.problem
    assert unread.problem == "the secret gone cannot be read: No such file or directory"
    # It is counted once the catalogue has it.
    assert await eventually(lambda: failures() >= failed + 3)
    assert await eventually(lambda: REGISTRY.get_sample_value("parley_mcp_servers", {"state": "failed"}) == 3)
    for name in ("nobody", "missing", "unread"):
        await remove(house, name)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"program": {"command": "bash"}}, "MCP_COMMAND_NOT_ALLOWED"),
        ({"program": {"command": "/bin/sh"}}, "INVALID_REQUEST"),
        ({}, "INVALID_REQUEST"),
        ({"address": {"url": NOWHERE, "secret_name": "other"}}, "MCP_SECRET_NOT_FOUND"),
        ({"address": {"url": NOWHERE, "secret_name": "token"}}, "MCP_SECRET_NOT_FOUND"),
        ({"address": {"url": "http://10.1.2.3:8080/mcp"}}, "ADDRESS_NOT_ALLOWED"),
        ({"address": {"url": "http://169.254.169.254:8080/"}}, "ADDRESS_NOT_ALLOWED"),
        ({"address": {"url": "http://127.0.0.1:25/mcp"}}, "URL_INVALID"),
        ({"address": {"url": "http://user:secret@127.0.0.1:8080/mcp"}}, "URL_INVALID"),
        ({"address": {"url": "http://127.0.0.1:8080/mcp?key=secret"}}, "URL_INVALID"),
        ({"address": {"url": "file:///etc/passwd"}}, "URL_INVALID"),
        ({"address": {"url": NOWHERE}, "timeout": {"seconds": 7200}}, "INVALID_REQUEST"),
    ],
)
async def test_what_the_operator_does_not_allow_is_not_added(
    house: House, fields: dict[str, Any], expected: str
) -> None:
    _, found = await refusal(add(house, "other", **fields))
    assert found == expected
    assert "other" not in await names(house)


@pytest.mark.parametrize("name", ["", "Big", "with_underscore", "-edge", "x" * 21, "a/b"])
async def test_a_name_is_short_and_plain(house: House, name: str) -> None:
    assert (await refusal(add(house, name, address={"url": NOWHERE})))[1] == "INVALID_REQUEST"


async def test_adding_twice_changes_nothing_and_another_one_needs_another_name(house: House) -> None:
    first = await add(house, "same", address={"url": NOWHERE})
    again = await add(house, "same", address={"url": NOWHERE})
    assert (first.name, first.address) == (again.name, again.address)
    assert (await refusal(add(house, "same", program={"command": "outside"})))[1] == "MCP_SERVER_EXISTS"
    assert (await refusal(add(house, "fixed", address={"url": NOWHERE})))[1] == "MCP_SERVER_EXISTS"
    elsewhere = await add(house, "same", tenant="tenant-2", address={"url": NOWHERE})
    assert elsewhere.name == "same"
    await remove(house, "same", "tenant-2")
    assert "same" in await names(house)
    await remove(house, "same")


async def test_another_tenants_server_is_not_found(house: House) -> None:
    await add(house, "ours", address={"url": NOWHERE})
    request, theirs = pb2.GetServerRequest(name="ours"), house.metadata(tenant="tenant-2")
    assert (await refusal(house.mcp.GetServer(request, metadata=theirs, timeout=SECONDS)))[1] == (
        "MCP_SERVER_NOT_FOUND"
    )
    assert (await refusal(remove(house, "ours", "tenant-2")))[1] == "MCP_SERVER_NOT_FOUND"
    assert "ours" in await names(house)
    await remove(house, "ours")


async def test_a_server_of_the_settings_is_the_operators(house: House) -> None:
    assert await refusal(remove(house, "fixed")) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "MCP_SERVER_FIXED",
    )
    request = pb2.GetServerRequest(name="fixd")
    call = house.mcp.GetServer(request, metadata=house.metadata(), timeout=SECONDS)
    assert (await refusal(call))[1] == "MCP_SERVER_NOT_FOUND"
    assert (await refusal(remove(house, "nothing")))[1] == "MCP_SERVER_NOT_FOUND"


async def test_a_tenant_has_only_so_many_and_they_are_listed_by_page(house: House) -> None:
    for number in range(5):
        await add(house, f"n{number}", tenant="tenant-3", address={"url": NOWHERE})
    more = add(house, "n5", tenant="tenant-3", address={"url": NOWHERE})
    assert await refusal(more) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_MCP_SERVERS")
    found, token = [], ""
    while True:
        request = pb2.ListServersRequest(page_size=3, page_token=token)
        page = await house.mcp.ListServers(
            request, metadata=house.metadata(tenant="tenant-3"), timeout=SECONDS
        )
        found += [server.name for server in page.servers]
        token = page.next_page_token
        if not token:
            break
    assert found == ["fixed", "n0", "n1", "n2", "n3", "n4", "older"]
    for number in range(5):
        await remove(house, f"n{number}", "tenant-3")


@pytest.mark.parametrize("held", ["tools.list", "tools.mcp.*", "tools.mcp_servers.read"])
async def test_adding_needs_its_own_permission(house: House, held: str) -> None:
    request = pb2.AddServerRequest(server=pb2.McpServer(name="other", address={"url": NOWHERE}))
    call = house.mcp.AddServer(request, metadata=house.metadata(held), timeout=SECONDS)
    assert await refusal(call) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING")


async def test_what_was_added_is_there_after_a_restart_and_at_every_replica(house: House) -> None:
    await add(house, "kept", address={"url": NOWHERE})
    path = house.folder.parent / "state" / "servers.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert TOKEN not in path.read_text()

    async def report(_answers: bool) -> None:
        return

    other = McpServers(Catalogue(()), house.reach, {}, StateFile(path), report, max_servers=5, max_tools=10)
    async with other.running():
        assert [link.name for link in other.seen_by("tenant-1")] == ["kept"]
        assert other.seen_by("tenant-2") == []
        await remove(house, "kept")
        assert await eventually(lambda: not other.seen_by("tenant-1"))
