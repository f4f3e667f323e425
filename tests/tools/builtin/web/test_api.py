from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from services.tools.builtin.web.api import (
    EXAMPLE,
    ApiRequestArguments,
    ApiRequestResult,
    api_tool,
    build_request,
)
from services.tools.catalogue import LoopCall, compact_json
from services.tools.web_errors import AddressNotAllowed, ContentUnreadable, HeaderNotAllowed
from tests.tools.builtin.web.conftest import Site, fetcher_of, response


async def ask(loop_call: LoopCall, url: str, **arguments: object) -> ApiRequestResult:
    found = await api_tool(fetcher_of()).run(ApiRequestArguments(url=url, **arguments), loop_call)
    assert isinstance(found, ApiRequestResult)
    return found


async def test_json_comes_as_json(site: Site, loop_call: LoopCall) -> None:
    site.answers["/items"] = response(b'{"id": 9007199254740993}', "application/problem+json; charset=utf-8")
    found = await ask(loop_call, site.url("/items?a=1#part"), params={"q": "ä b"})
    assert found.json_data == {"id": 9007199254740993}
    assert (found.status, found.text, found.body_bytes) == (200, None, 24)
    assert site.heard[0].target == "/items?a=1&q=%C3%A4+b"


async def test_text_comes_as_text_and_bytes_are_only_counted(site: Site, loop_call: LoopCall) -> None:
    site.answers |= {
        "/text": response("grüß".encode("latin-1"), "text/plain; charset=ISO-8859-1", status="418 Teapot"),
        "/bytes": response(b"\x89PNG", "image/png"),
        "/empty": response(b"", "application/json", status="204 No Content"),
    }
    text = await ask(loop_call, site.url("/text"))
    assert (text.text, text.status) == ("grüß", 418)
    picture = await ask(loop_call, site.url("/bytes"))
    assert (picture.text, picture.json_data, picture.body_bytes) == (None, None, 4)
    assert (await ask(loop_call, site.url("/empty"))).json_data is None


async def test_a_body_is_sent_as_json_or_as_it_is(site: Site, loop_call: LoopCall) -> None:
    site.answers["/"] = response(b"")
    await ask(loop_call, site.url(), method="POST", json_data={"a": [1, None]})
    await ask(loop_call, site.url(), method="PUT", data="x", headers={"Content-Type": "text/csv"})
    first, second = site.heard
    assert (first.body, first.headers["content-type"]) == (b'{"a": [1, null]}', "application/json")
    assert (second.body, second.headers["content-type"]) == (b"x", "text/csv")


async def test_json_that_is_none_is_told(site: Site, loop_call: LoopCall) -> None:
    site.answers["/"] = response(b"{" * 100_000, "application/json")
    with pytest.raises(ContentUnreadable):
        await ask(loop_call, site.url())


async def test_long_headers_are_cut(site: Site, loop_call: LoopCall) -> None:
    site.answers["/"] = response(b"", Long="x" * 5000)
    assert len((await ask(loop_call, site.url())).headers["long"]) == 1000


@pytest.mark.parametrize(
    "name",
    [
        *("Host", "content-length", "Transfer-Encoding", "connection", "Expect", "Proxy-Authorization"),
        *("X-Forwarded-For", "Metadata-Flavor", "X-aws-ec2-metadata-token", "bad name", "bad:name", ""),
    ],
)
def test_headers_that_tools_may_not_set_are_refused(name: str) -> None:
    with pytest.raises(HeaderNotAllowed):
        build_request(ApiRequestArguments(url="https://example.com/", headers={name: "x"}))


@pytest.mark.parametrize("value", ["a\r\nHost: evil", "a\0", "ä"])
def test_values_that_are_none_are_refused(value: str) -> None:
    with pytest.raises(HeaderNotAllowed):
        build_request(ApiRequestArguments(url="https://example.com/", headers={"x-a": value}))
    allowed = build_request(ApiRequestArguments(url="https://example.com/", headers={"X-A": " a "}))
    assert allowed.headers == (("x-a", "a"),)


@pytest.mark.parametrize(
    "arguments",
    [
        {"method": "GET", "data": "x"},
        {"method": "POST", "data": "x", "json_data": {}},
        {"method": "TRACE"},
        {"method": "CONNECT"},
        {"url": ""},
        {"headers": {"x-a": "x" * 5000}},
    ],
)
def test_arguments_that_make_no_request_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ApiRequestArguments.model_validate({"url": "https://example.com/", **arguments})


async def test_the_inside_is_out_of_reach(loop_call: LoopCall) -> None:
    for url in ("http://169.254.169.254/", "http://localhost/", "http://2852039166/", "http://[fd00::1]/"):
        guarded = api_tool(fetcher_of(opened=(), resolve=_localhost))
        with pytest.raises(AddressNotAllowed):
            await guarded.run(ApiRequestArguments(url=url), loop_call)


async def _localhost(_host: str) -> list[str]:
    return ["127.0.0.1"]


async def test_the_example_gives_what_it_says(site: Site, loop_call: LoopCall) -> None:
    """At a site that stands for the API of the guide: only scheme, host and port are another's."""
    path = urlsplit(EXAMPLE.arguments["url"]).path
    site.answers[path] = response(compact_json(EXAMPLE.result["json_data"]).encode(), "application/json")
    found = await ask(loop_call, **{**EXAMPLE.arguments, "url": site.url(path)})
    made = json.loads(found.to_json())
    assert urlsplit(made.pop("url")).path == urlsplit(EXAMPLE.result["url"]).path
    assert made.pop("headers").items() >= EXAMPLE.result["headers"].items()
    assert made == {name: EXAMPLE.result[name] for name in ("status", "json_data", "body_bytes")}
    assert site.heard[0].headers["accept"] == EXAMPLE.arguments["headers"]["accept"]


@pytest.mark.parametrize(
    "body", [b'{"a": 1e999}', b'{"a": "\\ud800"}', b"[" * 300 + b"]" * 300, b"NaN", b"9" * 10_000, b'"\xff"']
)
async def test_json_that_is_odd_is_told_or_given(site: Site, loop_call: LoopCall, body: bytes) -> None:
    site.answers["/"] = response(body, "application/json")
    try:
        found = await ask(loop_call, site.url())
    except ContentUnreadable:
        return
    assert found.to_json()
