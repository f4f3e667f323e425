"""Parley as an MCP server, as the SDK's own client meets it."""

from __future__ import annotations

import asyncio
import json

import pytest
from mcp.shared.exceptions import MCPError

from tests.edge.mcp.conftest import SECONDS, House

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

ERAS = ("auto", "legacy")


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_lists_and_calls(house: House, mode: str) -> None:
    async with house.client(mode=mode) as client:
        assert client.server_info is not None
        assert client.server_info.name == "parley"
        listed = {each.name: each for each in (await client.list_tools()).tools}
        result = await client.call_tool("calculator", {"expression": "17 * 23"})
    assert "switched_off" not in listed
    assert {"calculator", "patient", "stepping", "broken"} <= listed.keys()
    calculator = listed["calculator"]
    assert calculator.input_schema["required"] == ["expression"]
    assert calculator.annotations is not None
    assert (calculator.annotations.read_only_hint, calculator.annotations.destructive_hint) == (True, False)
    assert result.structured_content is not None
    assert result.structured_content["result"] == 391
    assert json.loads(result.content[0].text) == result.structured_content
    assert not result.is_error


@pytest.mark.parametrize("mode", ERAS)
async def test_a_caller_sees_and_calls_what_its_key_permits_and_nothing_else(house: House, mode: str) -> None:
    async with house.client("calculator", mode) as client:
        assert [each.name for each in (await client.list_tools()).tools] == ["calculator"]
        with pytest.raises(MCPError) as caught:
            await client.call_tool("stepping", {})
        allowed = await client.call_tool("calculator", {"expression": "1 + 1"})
    assert caught.value.error.code == -32602
    assert caught.value.error.data["reason"] == "PERMISSION_MISSING"
    assert caught.value.error.data["metadata"] == {"permission": "tools.utility.stepping"}
    assert allowed.structured_content == {**allowed.structured_content, "result": 2}


async def test_who_may_only_list_cannot_call(house: House) -> None:
    async with house.client("reader") as client:
        assert [each.name for each in (await client.list_tools()).tools] == ["calculator"]
        with pytest.raises(MCPError) as caught:
            await client.call_tool("calculator", {"expression": "1"})
    assert caught.value.error.data["metadata"] == {"permission": "tools.execute"}


@pytest.mark.parametrize("mode", ERAS)
async def test_what_a_tool_says_is_a_result_that_a_model_can_read(house: House, mode: str) -> None:
    async with house.client(mode=mode) as client:
        wrong = await client.call_tool("calculator", {"expression": "1 / 0"})
        missing = await client.call_tool("calculator", {})
        unknown = await client.call_tool("calculator", {"expression": "1", "colour": "red"})
        broke = await client.call_tool("broken", {})
    assert [result.is_error for result in (wrong, missing, unknown, broke)] == [True] * 4
    assert wrong.meta is not None
    assert missing.meta is not None
    assert wrong.meta["parley/error"]["reason"] == "EXPRESSION_INVALID"
    assert missing.meta["parley/error"]["violations"][0]["field"] == "expression"
    assert "hunter2" not in broke.model_dump_json()


@pytest.mark.parametrize("name", ["calculater", "", "x" * 5000, "tools/../calculator"])
async def test_a_tool_that_is_not_there_is_an_error_of_the_request(house: House, name: str) -> None:
    async with house.client() as client:
        with pytest.raises(MCPError) as caught:
            await client.call_tool(name, {})
    assert caught.value.error.code == -32602
    assert caught.value.error.data["reason"] == "TOOL_NOT_FOUND"
    assert caught.value.error.data["metadata"]["nearest"] == ("calculator" if name == "calculater" else "")


@pytest.mark.parametrize("mode", ERAS)
async def test_progress_arrives_while_the_tool_runs_and_only_grows(house: House, mode: str) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    async with house.client(mode=mode) as client:
        result = await client.call_tool("stepping", {}, progress_callback=on_progress)
    assert result.structured_content == {"done": True}
    assert [message for _, _, message in told] == ["half", "some output"]
    assert [at for at, _, _ in told] == sorted({at for at, _, _ in told})


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_that_leaves_ends_the_tool(house: House, mode: str) -> None:
    house.patience.began.clear()
    house.patience.ended.clear()
    async with house.client(mode=mode) as client, asyncio.timeout(SECONDS):
        call = asyncio.create_task(client.call_tool("patient", {}))
        await house.patience.began.wait()
        call.cancel()
        if mode == "auto":  # Here a closed stream is the cancellation; before, only the end of the client is.
            await house.patience.ended.wait()
    async with asyncio.timeout(SECONDS):
        assert await house.patience.ended.wait()


async def test_calls_are_counted_and_audited_like_every_call(house: House) -> None:
    tenant = next(iter(event.tenant_id for event in house.audit.events if event.tenant_id), "")
    before = house.runner.statistics.read(tenant).tools["calculator"].calls if tenant else 0
    async with house.client("calculator") as client:
        await client.call_tool("calculator", {"expression": "2 + 2"})
    event = next(
        event for event in reversed(house.audit.events) if event.resources.get("tool") == "calculator"
    )
    assert event.method == "/parley.tools.v1.McpEndpointService/Exchange"
    assert (event.resources["mcp_method"], event.code) == ("tools/call", "OK")
    assert event.key_id
    after = house.runner.statistics.read(event.tenant_id).tools["calculator"].calls
    assert after == before + 1


async def test_a_cursor_of_another_list_is_refused(house: House) -> None:
    async with house.client() as client:
        with pytest.raises(MCPError) as caught:
            await client.list_tools(cursor="made-up")
    assert caught.value.error.data["reason"] == "PAGE_TOKEN_INVALID"
    assert caught.value.error.code == -32602
