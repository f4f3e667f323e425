"""The tools that Parley brings along, called over the wire and run in workers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from parley.tools.v1 import tool_service_pb2
from services.tools.builtin.rooms import BUILT_IN
from tests.tools.conftest import SECONDS, Service, call_message, outcome

ALL = ("tools.*",)
INVALID = grpc.StatusCode.INVALID_ARGUMENT
FAILED = grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture
async def everything(serve: Callable[..., Any]) -> AsyncIterator[Service]:
    async with serve(BUILT_IN) as running:
        yield running


async def execute(service: Service, name: str, **arguments: object) -> Any:
    """Call a tool; its result."""
    request = tool_service_pb2.ExecuteRequest(call=call_message("1", name, json.dumps(arguments)))
    async with service.stub() as stub:
        events = [
            response.event
            async for response in stub.Execute(request, metadata=service.metadata(*ALL), timeout=SECONDS)
        ]
    return json.loads(events[-1].result.content)


async def test_every_tool_is_listed_with_its_examples(everything: Service) -> None:
    async with everything.stub() as stub:
        listed = await stub.ListTools(
            tool_service_pb2.ListToolsRequest(page_size=1000),
            metadata=everything.metadata(*ALL),
            timeout=SECONDS,
        )
    assert [tool.name for tool in listed.tools] == sorted(entry.name for entry in BUILT_IN)
    assert all(tool.examples and not tool.unavailable for tool in listed.tools)
    assert len(listed.SerializeToString()) < 256 * 2**10


async def test_a_file_goes_through_every_hand(everything: Service) -> None:
    table = "city,amount\nLima,7\nOslo,5\n"
    await execute(everything, "file_write", file_path="data/t.csv", content=table, make_folders=True)
    patch = "@@ -2 +2 @@\n-Lima,7\n+Lima,8\n"
    await execute(everything, "file_patch", file_path="data/t.csv", patch=patch)
    rows = await execute(
        everything, "sql_on_data", file_path="data/t.csv", query="SELECT sum(amount) FROM data"
    )
    assert rows["rows"] == [[13]]
    found = await execute(everything, "file_search", query="Lima")
    assert found["matches"] == [{"file_path": "data/t.csv", "line": 2, "text": "Lima,8"}]
    await execute(everything, "file_manage", operation="delete", path="data", recursive=True)
    assert (await execute(everything, "file_list", directory="."))["total_entries"] == 2


@pytest.mark.parametrize(
    ("name", "arguments", "status", "reason"),
    [
        ("file_write", {"file_path": "welcome.txt", "content": "", "mode": "x"}, None, "FILE_EXISTS"),
        ("file_manage", {"operation": "delete", "path": "notes"}, FAILED, "FOLDER_NOT_EMPTY"),
        (
            "file_patch",
            {"file_path": "welcome.txt", "patch": "@@ -1 +1 @@\n-a\n+b\n"},
            FAILED,
            "PATCH_REJECTED",
        ),
        ("file_search", {"query": "(", "regex": True}, INVALID, "PATTERN_INVALID"),
        ("json_parse", {"json_string": "{"}, INVALID, "DATA_INVALID"),
        ("json_query", {"data": {}, "path": "["}, INVALID, "QUERY_INVALID"),
        ("symbolic", {"operation": "simplify", "expression": "x.y"}, INVALID, "EXPRESSION_INVALID"),
        ("math_operation", {"operation": "divide", "values": [1, 0]}, INVALID, "EXPRESSION_INVALID"),
    ],
)
async def test_an_error_arrives_with_its_reason(
    everything: Service, name: str, arguments: dict[str, object], status: grpc.StatusCode | None, reason: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await execute(everything, name, **arguments)
    assert outcome(caught.value) == (status or grpc.StatusCode.ALREADY_EXISTS, reason)


async def test_a_query_that_would_fill_the_memory_leaves_the_service_well(
    everything: Service, tmp_path: Path
) -> None:
    await execute(everything, "file_write", file_path="t.csv", content="x\n1\n")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await execute(
            everything, "sql_on_data", file_path="t.csv", query="SELECT repeat('x', 3000000000) FROM data"
        )
    assert outcome(caught.value)[1] == "DATA_TOO_LARGE"
    assert (await execute(everything, "calculator", expression="17 * 23"))["result"] == 391
