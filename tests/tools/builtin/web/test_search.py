from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from services.rpc.tls import TlsFiles
from services.tools.addresses import AddressGuard
from services.tools.builtin.web.search import (
    EXAMPLE,
    SearchEndpoint,
    WebSearchArguments,
    WebSearchResult,
    search_tool,
)
from services.tools.builtin.web.toolset import web_tools
from services.tools.catalogue import LoopCall
from services.tools.errors import ToolDisabled
from services.tools.runner import Invocation
from services.tools.settings import ToolsSettings
from services.tools.web_errors import ContentUnreadable, HttpStatus
from tests.conftest import TokenMaker
from tests.tools.builtin.web.conftest import LOOPBACK, Site, fetcher_of, nowhere, response
from tests.tools.conftest import discard

ANSWER = {
    "query": "lamps",
    "number_of_results": 0,
    "results": [
        {
            "url": "https://lamps.example/",
            "title": "Lamps",
            "content": "All about lamps.",
            "engine": "duckduckgo",
            "publishedDate": "2026-11-01T00:00:00",
            "score": 1.0,
        },
        {"url": "https://wire.example/", "title": None, "content": None},
        {"url": "javascript:alert(1)", "title": "No", "content": "no"},
        {"url": "https://oil.example/", "title": "Oil", "content": "x" * 5000},
    ],
    "answers": [{"answer": "A lamp.", "url": "x"}, "Light.", 5],
    "suggestions": ["oil lamps"],
    "unresponsive_engines": [["google", "CAPTCHA"]],
}


def endpoint(site: Site, path: str = "") -> SearchEndpoint:
    return SearchEndpoint(site.url(path), fetcher_of(redirects=0))


async def search(site: Site, loop_call: LoopCall, path: str = "", **arguments: object) -> WebSearchResult:
    found = await search_tool(endpoint(site, path)).run(WebSearchArguments(**arguments), loop_call)
    assert isinstance(found, WebSearchResult)
    return found


async def test_a_search_over_http(site: Site, loop_call: LoopCall) -> None:
    site.answers["/searx/search"] = response(json.dumps(ANSWER).encode(), "application/json")
    found = await search(site, loop_call, "/searx/", query="lamps & oil", language="en", time_range="month")
    assert [hit.url for hit in found.results] == [
        "https://lamps.example/",
        "https://wire.example/",
        "https://oil.example/",
    ]
    first, second, third = found.results
    assert (first.title, first.snippet, first.published) == (
        "Lamps",
        "All about lamps.",
        "2026-11-01T00:00:00",
    )
    assert (second.title, second.snippet) == ("", None)
    assert len(third.snippet or "") == 1000
    assert (found.answers, found.suggestions) == (["A lamp.", "Light."], ["oil lamps"])
    assert parse_qs(site.heard[0].target.partition("?")[2]) == {
        "q": ["lamps & oil"],
        "format": ["json"],
        "pageno": ["1"],
        "categories": ["general"],
        "safesearch": ["1"],
        "language": ["en"],
        "time_range": ["month"],
    }


async def test_only_so_many_results(site: Site, loop_call: LoopCall) -> None:
    site.answers["/search"] = response(json.dumps(ANSWER).encode(), "application/json")
    assert len((await search(site, loop_call, query="lamps", max_results=1)).results) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (response(b"", status="403 Forbidden"), HttpStatus),
        (response(b"<html>", "text/html"), ContentUnreadable),
        (response(b'{"results": 5}', "application/json"), ContentUnreadable),
        (response(b"", status="302 Found", location="/elsewhere"), Exception),
    ],
)
async def test_what_is_no_answer_is_told(
    site: Site, loop_call: LoopCall, answer: bytes, error: type[Exception]
) -> None:
    site.answers["/search"] = answer
    with pytest.raises(error):
        await search(site, loop_call, query="lamps")


def settings(files: TlsFiles, folder: Path, **changes: object) -> ToolsSettings:
    return ToolsSettings(
        tls_certificate_path=files.certificate,
        tls_private_key_path=files.private_key,
        tls_authority_path=files.authority,
        auth_address="127.0.0.1:1",
        workspace_path=folder,
        **changes,
    )


async def test_without_an_endpoint_it_is_off_and_says_why(
    identity: object, tmp_path: Path, make_runner: object, tokens: TokenMaker
) -> None:
    files = identity("tools")  # type: ignore[operator]
    tools = web_tools(settings(files, tmp_path), nowhere)
    runner = make_runner(*tools)  # type: ignore[operator]
    with pytest.raises(ToolDisabled, match="PARLEY_TOOLS_SEARCH_URL"):
        await runner.run(Invocation("1", "web_search", "{}"), tokens.principal("tools.*"), None, discard)


async def test_the_operators_endpoint_may_be_inside(
    site: Site, identity: object, tmp_path: Path, loop_call: LoopCall
) -> None:
    site.answers["/search"] = response(json.dumps(ANSWER).encode(), "application/json")
    files = identity("tools")  # type: ignore[operator]
    tools = {tool.name: tool for tool in web_tools(settings(files, tmp_path, search_url=site.url()), nowhere)}
    assert not tools["web_search"].unavailable
    assert (await tools["web_search"].run(WebSearchArguments(query="x"), loop_call)).results
    assert isinstance(AddressGuard(nowhere, None, LOOPBACK), AddressGuard)


async def test_the_example_gives_what_it_says(site: Site, loop_call: LoopCall) -> None:
    hits = [
        {"url": hit["url"], "title": hit["title"], "content": hit["snippet"]}
        for hit in EXAMPLE.result["results"]
    ]
    more = [{"url": "https://example.org/", "title": "Beyond what was asked for", "content": ""}]
    site.answers["/search"] = response(json.dumps({"results": hits + more}).encode(), "application/json")
    found = await search(site, loop_call, **EXAMPLE.arguments)
    assert json.loads(found.to_json()) == EXAMPLE.result
