"""Tools of an outside server, called as every tool is."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import grpc
import pytest

from parley.tools.v1 import execution_pb2, tool_pb2, tool_service_pb2
from services.rpc.errors import ServiceError
from services.tools.catalogue import SafetyLevel
from services.tools.mcp.adapting import MAX_DESCRIPTION_CHARACTERS
from tests.tools.conftest import outcome, reason
from tests.tools.mcp.conftest import SECONDS, SERVERS, House, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def refused(house: House, name: str, arguments: str = "{}", **more: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await house.call(name, arguments, **more)
    return caught.value


async def test_they_are_listed_and_called_over_the_wire(house: House) -> None:
    request = tool_service_pb2.ListToolsRequest(category=tool_pb2.CATEGORY_MCP)
    listed = await house.tools.ListTools(request, metadata=house.metadata(), timeout=SECONDS)
    echo = next(each for each in listed.tools if each.name == "mcp__fixed__echo")
    assert (echo.permission, echo.idempotent) == ("tools.mcp.mcp__fixed__echo", True)
    assert json.loads(echo.parameters_schema)["properties"]["text"]["maxLength"] == 10
    call = execution_pb2.ToolInvocation(call_id="1", tool=echo.name, arguments='{"text": "hello"}')
    events = [
        answer.event
        async for answer in house.tools.Execute(
            tool_service_pb2.ExecuteRequest(call=call),
            metadata=house.metadata("tools.execute", echo.permission),
            timeout=SECONDS,
        )
    ]
    assert json.loads(events[-1].result.content) == {"text": "hello", "structured": {"said": "hello"}}


async def test_each_needs_its_own_permission(house: House) -> None:
    call = execution_pb2.ToolInvocation(call_id="1", tool="mcp__fixed__gentle")
    request = tool_service_pb2.ExecuteRequest(call=call)
    may = house.metadata("tools.execute", "tools.utility.*", "tools.mcp.mcp__fixed__echo")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await house.tools.Execute(request, metadata=may, timeout=SECONDS).read()
    assert outcome(caught.value) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING")


async def test_calls_of_them_are_counted(house: House) -> None:
    await house.call("mcp__fixed__gentle")
    figures = house.runner.statistics.read("tenant-1").tools["mcp__fixed__gentle"]
    assert (figures.calls, figures.errors.total()) == (1, 0)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ('{"text": "much too long for it"}', "text: "),
        ("{}", "'text' is a required property"),
        ('{"text": 3}', "is not of type 'string'"),
        ('{"text": "a", "more": 1}', "Additional properties"),
        ('{"text": "a", "text": "b"}', "not valid JSON"),
        ("[]", "must be a JSON object"),
    ],
)
async def test_arguments_are_held_to_the_servers_schema(house: House, arguments: str, told: str) -> None:
    error = await refused(house, "mcp__fixed__echo", arguments)
    assert reason(error) == "INVALID_ARGUMENTS"
    assert told in error.message


async def test_a_schema_that_takes_for_ever_costs_a_worker_and_nothing_else(house: House) -> None:
    arguments = json.dumps({"text": "a" * 60 + "!"})
    error = await refused(house, "mcp__fixed__slow_pattern", arguments, seconds=1)
    assert reason(error) == "TOOL_TIMEOUT"
    result, _ = await house.call("mcp__fixed__echo", '{"text": "after"}')
    assert json.loads(result.content)["text"] == "after"


async def test_what_fails_there_fails_here_with_a_type(house: House) -> None:
    failed = await refused(house, "mcp__fixed__fails")
    assert (reason(failed), failed.message) == ("TOOL_FAILED", "the disk is on fire")
    declined = await refused(house, "mcp__fixed__refuses")
    assert (reason(declined), declined.metadata["code"]) == ("MCP_PROTOCOL_ERROR", "-32001")
    assert "\x1b" not in declined.message


async def test_a_server_gets_no_answer_to_questions_of_its_own(house: House) -> None:
    assert reason(await refused(house, "mcp__fixed__asks")) in ("TOOL_FAILED", "MCP_PROTOCOL_ERROR")


@pytest.mark.parametrize("server", SERVERS)
async def test_progress_is_passed_on(house: House, server: str) -> None:
    result, told = await house.call(f"mcp__{server}__steps")
    assert json.loads(result.content)["text"] == "done"
    assert told
    assert {each.message for each in told} <= {"step 1", "step 2", "step 3"}
    assert all(each.fraction is not None and 0 < each.fraction <= 1 for each in told)


async def test_a_flood_of_progress_holds_nobody_up(house: House) -> None:
    result, told = await house.call("mcp__fixed__flood")
    assert json.loads(result.content)["text"] == "done"
    assert all(len(each.message) <= 501 for each in told)


@pytest.mark.parametrize("server", SERVERS)
async def test_cancelling_a_call_tells_the_server(house: House, server: str) -> None:
    for note in ("waiting", "cancelled"):
        (house.folder / note).unlink(missing_ok=True)
    call = asyncio.create_task(house.call(f"mcp__{server}__waits"))
    await eventually((house.folder / "waiting").exists)
    call.cancel()
    assert await eventually((house.folder / "cancelled").exists)
    assert house.find(f"mcp__{server}__echo")


async def test_a_call_that_takes_too_long_is_ended_there_too(house: House) -> None:
    (house.folder / "cancelled").unlink(missing_ok=True)
    assert reason(await refused(house, "mcp__fixed__waits", seconds=0.2)) == "TOOL_TIMEOUT"
    assert await eventually((house.folder / "cancelled").exists)


async def test_a_result_that_is_too_large_is_refused(house: House) -> None:
    error = await refused(house, "mcp__fixed__big")
    assert (reason(error), error.metadata["limit_bytes"]) == ("OUTPUT_TOO_LARGE", "65536")


async def test_a_result_beyond_every_limit_ends_the_connection_which_comes_back(house: House) -> None:
    assert reason(await refused(house, "mcp__fixed__huge")) == "MCP_SERVER_UNAVAILABLE"
    await house.back("fixed")
    result, _ = await house.call("mcp__fixed__echo", '{"text": "back"}')
    assert json.loads(result.content)["text"] == "back"


async def test_pictures_and_resources_are_described(house: House) -> None:
    result, _ = await house.call("mcp__fixed__picture")
    assert json.loads(result.content) == {
        "attachments": [
            {"kind": "image", "media_type": "image/png", "size_bytes": 5},
            {"kind": "resource", "media_type": "text/plain", "uri": "note://1", "text": "a note"},
            {"kind": "link", "uri": "https://example.com/a.pdf", "size_bytes": 7},
        ]
    }


async def test_a_program_sees_the_environment_that_was_named_and_no_other(house: House) -> None:
    result, _ = await house.call("mcp__fixed__environment")
    seen = json.loads(json.loads(result.content)["text"])
    assert seen.keys() - {"LC_CTYPE"} == {"FOLDER", "PATH"}
    assert os.environ.keys() - seen.keys()


async def test_levels_are_what_the_server_says_where_the_operator_takes_its_word(house: House) -> None:
    levels = {name: house.find(f"mcp__fixed__{name}").safety for name in ("echo", "gentle", "fails")}
    assert levels == {
        "echo": SafetyLevel.SAFE,
        "gentle": SafetyLevel.RESTRICTED,
        "fails": SafetyLevel.DANGEROUS,
    }


async def test_hostile_names_become_legal_ones_that_do_not_meet(house: House) -> None:
    names = [tool.name for tool in house.catalogue.permitted(house.principal(), 0, "mcp__fixed")]
    names = [name for name in names if name.startswith("mcp__fixed__")]
    odd = [name for name in names if "etc_passwd" in name or "aaaa" in name]
    assert len(odd) == 3
    assert all(len(name) <= 64 and name.replace("_", "a").replace("-", "a").isalnum() for name in names)
    assert names.count("mcp__fixed__twice") == 1
    assert "The first." in house.find("mcp__fixed__twice").description


async def test_hostile_words_are_cleaned_and_cut(house: House) -> None:
    told = next(
        tool.description
        for tool in house.catalogue.permitted(house.principal(), 0, "mcp__")
        if "etc_passwd" in tool.name
    )
    assert told.startswith("A tool of the outside MCP server fixed.")
    assert "\x1b" not in told
    assert "\u202e" not in told
    assert len(told) < MAX_DESCRIPTION_CHARACTERS + 100


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("far", "refers outside itself"),
        ("deep", "deeper than"),
        ("fat", "larger than"),
        ("wrong", "no JSON Schema"),
    ],
)
async def test_a_hostile_schema_switches_its_tool_off(house: House, name: str, why: str) -> None:
    error = await refused(house, f"mcp__fixed__{name}")
    assert reason(error) == "TOOL_DISABLED"
    assert why in error.message


@pytest.mark.parametrize("server", SERVERS)
async def test_a_tool_that_appears_is_found(house: House, server: str) -> None:
    assert house.find(f"mcp__{server}__grown") is None
    await house.call(f"mcp__{server}__grows")
    assert await eventually(lambda: house.find(f"mcp__{server}__grown"))


@pytest.mark.parametrize("server", SERVERS)
async def test_a_server_that_dies_is_off_at_once_and_comes_back(house: House, server: str) -> None:
    error = await refused(house, f"mcp__{server}__dies")
    assert reason(error) == "MCP_SERVER_UNAVAILABLE"
    await eventually(lambda: house.find(f"mcp__{server}__echo") is None)
    off = await refused(house, f"mcp__{server}__echo", '{"text": "a"}')
    assert reason(off) == "TOOL_DISABLED"
    assert f"the MCP server {server} cannot be used now: It ended." in off.message
    assert house.health[-1] is False
    await house.ready(server)
    await eventually(lambda: house.health[-1])
    result, _ = await house.call(f"mcp__{server}__echo", '{"text": "again"}')
    assert json.loads(result.content)["text"] == "again"
