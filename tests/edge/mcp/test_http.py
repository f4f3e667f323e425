"""What the endpoint answers to whoever speaks HTTP and no MCP."""

from __future__ import annotations

import json

import pytest

from services.tools.mcp.endpoint import ENVELOPE_BYTES
from tests.edge.answers import refusal
from tests.edge.mcp.conftest import ACCEPT, MAX_ARGUMENT_BYTES, House

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


async def test_a_caller_without_the_permission_gets_the_platforms_refusal(house: House) -> None:
    answer = await house.post(json.dumps(LIST), **{"x-api-key": house.keys["stranger"]})
    assert (answer.status_code, refusal(answer).reason) == (403, "PERMISSION_MISSING")


async def test_a_token_does_as_well_as_a_key(house: House) -> None:
    async with house.edge.http() as http:
        headers = {"authorization": f"Bearer {house.token}", **ACCEPT}
        by_token = await http.post("/mcp", json=LIST, headers=headers)
        without = await http.post("/mcp", json=LIST, headers=ACCEPT)
        forged = await http.post("/mcp", json=LIST, headers={"authorization": "Bearer a.b.c", **ACCEPT})
    assert by_token.status_code == 200
    assert (without.status_code, refusal(without).reason) == (401, "TOKEN_MISSING")
    assert (forged.status_code, refusal(forged).reason) == (401, "TOKEN_INVALID")


@pytest.mark.parametrize("verb", ["GET", "DELETE", "PUT"])
async def test_other_verbs_are_not_allowed(house: House, verb: str) -> None:
    async with house.edge.http() as http:
        answer = await http.request(verb, "/mcp", headers={"x-api-key": house.keys["all"]})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert refusal(answer).reason == "METHOD_UNKNOWN"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("{", 400, -32700),
        ("[" * 5000, 400, -32700),
        ('{"jsonrpc": "2.0", "id": NaN, "method": "ping"}', 400, -32700),
        ('{"jsonrpc": "2.0", "id": 1, "id": 2, "method": "ping"}', 400, -32700),
        (json.dumps({**LIST, "padding": "x" * (MAX_ARGUMENT_BYTES + ENVELOPE_BYTES)}), 413, -32600),
        (json.dumps([LIST, LIST]), 400, -32602),
        ('"text"', 400, -32602),
    ],
    ids=["half", "deep", "nan", "twice", "large", "batch", "text"],
)
async def test_a_body_that_is_no_message_is_refused(house: House, body: str, status: int, code: int) -> None:
    answer = await house.post(body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"] == code
    assert (await house.post(json.dumps(LIST))).status_code == 200


async def test_a_notification_is_taken_without_an_answer(house: House) -> None:
    answer = await house.post('{"jsonrpc": "2.0", "method": "notifications/initialized"}')
    assert (answer.status_code, answer.content) == (202, b"")


async def test_a_version_or_a_method_that_is_not_served_is_refused_as_mcp_says(house: House) -> None:
    version = await house.post(json.dumps(LIST), **{"mcp-protocol-version": "1999-01-01"})
    method = await house.post('{"jsonrpc": "2.0", "id": 1, "method": "resources/list"}')
    accepts = await house.post(json.dumps(LIST), accept="text/html")
    assert version.status_code == 400
    assert "-32601" in method.text
    assert accepts.status_code == 406


async def test_pages_of_other_origins_are_kept_out(house: House) -> None:
    answer = await house.post(json.dumps(LIST), origin="https://evil.example")
    assert answer.status_code == 403


async def test_a_page_of_the_house_may_ask_before_it_calls(house: House) -> None:
    async with house.edge.http() as http:
        headers = {
            "origin": house.edge.url.replace("127.0.0.1", "localhost"),
            "access-control-request-method": "POST",
            "access-control-request-headers": "x-api-key,mcp-protocol-version",
        }
        answer = await http.options("/mcp", headers=headers)
    assert answer.status_code == 200
    assert "mcp-protocol-version" in answer.headers["access-control-allow-headers"]
