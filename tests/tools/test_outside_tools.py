"""Tools that reach outside, behind the real server: what callers see over the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest

from parley.tools.v1 import execution_pb2, tool_service_pb2
from services.rpc.errors import error_info, status_of
from services.tools.builtin.database.sources import sources_from
from services.tools.builtin.database.toolset import database_tools
from services.tools.builtin.web.toolset import web_tools
from services.tools.settings import DatabaseSource, ToolsSettings
from tests.tools.builtin.database.conftest import lamps_file
from tests.tools.builtin.web.conftest import Site, nowhere, redirect, response, site
from tests.tools.conftest import SECONDS, Service, call_message

__all__ = ["lamps_file", "site"]

ALL = ("tools.list", "tools.execute", "tools.web.*", "tools.database.*")


@pytest.fixture
async def outside(
    site: Site, lamps_file: Path, tmp_path: Path, identity: Any, serve: Callable[..., Any]
) -> AsyncIterator[Service]:
    """The service with the tools that reach outside, where loopback is open."""
    files = identity("tools")
    settings = ToolsSettings(
        tls_certificate_path=files.certificate,
        tls_private_key_path=files.private_key,
        tls_authority_path=files.authority,
        auth_address="127.0.0.1:1",
        workspace_path=tmp_path,
        web_ports=[site.port],
        web_open_networks=[ip_network("127.0.0.1/32")],
        search_url=site.url(),
        database_sources={"shop": DatabaseSource(url=f"sqlite:///{quote(str(lamps_file))}", writable=True)},
    )
    tools = (*web_tools(settings, nowhere), *database_tools(sources_from(settings)))
    async with serve(tools) as running:
        yield running


async def execute(service: Service, tool: str, *permissions: str, **arguments: Any) -> Any:
    """The result of a call."""
    call = call_message("1", tool, json.dumps(arguments))
    async with service.stub() as stub:
        stream = stub.Execute(
            tool_service_pb2.ExecuteRequest(call=call),
            metadata=service.metadata(*(permissions or ALL)),
            timeout=SECONDS,
        )
        [result] = [r.event.result.content async for r in stream if r.event.HasField("result")]
        return json.loads(result)


async def refusal(
    service: Service, tool: str, *permissions: str, **arguments: Any
) -> tuple[Any, str, dict[str, str]]:
    """How a call is refused: code, reason and metadata."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await execute(service, tool, *permissions, **arguments)
    info = error_info(status_of(caught.value))
    assert info is not None
    return caught.value.code(), info.reason, dict(info.metadata)


async def test_what_is_allowed_goes_well(outside: Service, site: Site) -> None:
    site.answers |= {
        "/item": response(b'{"id": 7}', "application/json"),
        "/page": response(b"<title>T</title><p>Some words on a page.</p>", "text/html"),
        "/search": response(
            b'{"results": [{"url": "https://a.example/", "title": "A"}]}', "application/json"
        ),
    }
    assert (await execute(outside, "api_request", url=site.url("/item")))["json_data"] == {"id": 7}
    assert (await execute(outside, "web_scrape", url=site.url("/page")))["title"] == "T"
    assert (await execute(outside, "web_search", query="a"))["results"][0]["title"] == "A"
    assert (await execute(outside, "db_query", query="SELECT count(*) FROM lamps"))["rows"] == [[3]]
    assert (await execute(outside, "db_execute", statement="DELETE FROM lamps WHERE name = 'oil'")) == {
        "source": "shop",
        "changed_rows": 1,
    }


async def test_what_is_not_has_its_typed_error(outside: Service, site: Site) -> None:
    site.answers |= {"/inward": redirect("http://169.254.169.254/"), "/large": response(b"x" * 2_100_000)}
    denied, invalid = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT
    assert await refusal(outside, "api_request", url=f"http://[::1]:{site.port}/") == (
        denied,
        "ADDRESS_NOT_ALLOWED",
        {"host": "::1", "address": "::1"},
    )
    assert (await refusal(outside, "web_scrape", url=site.url("/inward")))[:2] == (invalid, "URL_INVALID")
    assert (await refusal(outside, "api_request", url=site.url("/large")))[1] == "RESPONSE_TOO_LARGE"
    assert (await refusal(outside, "api_request", url=site.url(), headers={"Host": "x"}))[1:] == (
        "HEADER_NOT_ALLOWED",
        {"header": "Host"},
    )
    assert (await refusal(outside, "db_query", query="DROP TABLE lamps"))[:2] == (
        denied,
        "STATEMENT_NOT_ALLOWED",
    )
    assert (await refusal(outside, "db_query", query="SELECT 1", source="nope"))[1] == "SOURCE_UNKNOWN"
    assert (await execute(outside, "db_query", query="SELECT count(*) FROM lamps"))["rows"] == [[3]]


async def test_a_tool_without_its_source_is_not_enough(outside: Service) -> None:
    only = ("tools.execute", "tools.database.db_query")
    assert await refusal(outside, "db_query", *only, query="SELECT 1", source="shop") == (
        grpc.StatusCode.PERMISSION_DENIED,
        "PERMISSION_MISSING",
        {"permission": "tools.database.sources.shop"},
    )
    both = (*only, "tools.database.sources.shop")
    assert (await execute(outside, "db_query", *both, query="SELECT 1", source="shop"))["rows"] == [[1]]


async def test_sixteen_requests_wait_at_once(outside: Service, site: Site) -> None:
    site.answers["/slow"] = response(b"done")
    site.together = asyncio.Barrier(16)  # nobody is answered before all have asked
    async with outside.stub() as stub:
        stream = stub.ExecuteMany(metadata=outside.metadata(*ALL), timeout=SECONDS)
        for number in range(16):
            call = call_message(f"{number}", "api_request", json.dumps({"url": site.url("/slow")}))
            await stream.write(tool_service_pb2.ExecuteManyRequest(call=call))
        await stream.done_writing()
        ended = [event async for event in last_events(stream)]
    assert len(ended) == 16


async def last_events(stream: Any) -> AsyncIterator[execution_pb2.ToolEvent]:
    async for answer in stream:
        assert not answer.event.HasField("error"), answer.event.error
        if answer.event.HasField("result"):
            yield answer.event
