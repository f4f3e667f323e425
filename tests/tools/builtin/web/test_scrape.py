from __future__ import annotations

import json

import pytest

from services.tools.builtin.web.reading import PageArguments, read_page
from services.tools.builtin.web.scrape import EXAMPLE, WebScrapeArguments, WebScrapeResult, scrape_tool
from services.tools.catalogue import LoopCall
from services.tools.errors import ToolFailed
from services.tools.runner import Invocation
from services.tools.web_errors import ContentUnreadable, HttpStatus, ResponseTooLarge
from tests.conftest import TokenMaker
from tests.tools.builtin.web.conftest import Site, fetcher_of, redirect, response
from tests.tools.conftest import discard

PAGE = """<!doctype html><html><head><title>On
 lamps</title><meta charset="utf-8"></head><body>
<nav><a href="/home">Home</a> <a href="javascript:alert(1)">No</a> <a href="http://[">Bad</a></nav>
<article><h1>On lamps</h1><p>A lamp gives light to those who read at night, and has done so for as long as
there were letters to be read by it. There are lamps of oil, of gas and of wire.</p>
<p>Whoever buys one today asks for its <a href="/power#watts">power</a> first, and for its beauty afterwards,
although nobody has ever looked at a number on a wall.</p>
<table><tr><th>kind</th><th>watts</th></tr><tr><td>oil</td><td>0</td></tr><tr><td>wire</td><td>40</td></tr></table>
</article><script>var hidden = "secret";</script></body></html>"""


async def scrape(loop_call: LoopCall, url: str, **arguments: object) -> WebScrapeResult:
    found = await scrape_tool(fetcher_of()).run(WebScrapeArguments(url=url, **arguments), loop_call)
    assert isinstance(found, WebScrapeResult)
    return found


async def test_the_readable_text_of_a_page(site: Site, loop_call: LoopCall) -> None:
    site.answers |= {"/": redirect("/lamps"), "/lamps": response(PAGE.encode(), "text/html")}
    page = await scrape(loop_call, site.url())
    assert (page.url, page.title) == (site.url("/lamps"), "On lamps")
    assert page.text is not None
    assert "lamps of oil, of gas and of wire" in page.text
    assert "secret" not in page.text
    assert (page.links, page.tables, page.truncated) == (None, None, False)


async def test_links_and_tables(site: Site, loop_call: LoopCall) -> None:
    site.answers["/"] = response(PAGE.encode(), "text/html; charset=utf-8")
    page = await scrape(loop_call, site.url(), include=["links", "tables"])
    assert [(link.text, link.url) for link in page.links or []] == [
        ("Home", site.url("/home")),
        ("power", site.url("/power")),
    ]
    assert page.tables == [[["kind", "watts"], ["oil", "0"], ["wire", "40"]]]
    assert page.text is None


async def test_markdown_and_a_cut(site: Site, loop_call: LoopCall) -> None:
    site.answers["/"] = response(PAGE.encode(), "text/html")
    page = await scrape(loop_call, site.url(), format="markdown", max_characters=100)
    assert page.text is not None
    assert page.text.startswith("# On lamps")
    assert (len(page.text), page.truncated) == (100, True)


async def test_the_page_says_its_encoding(site: Site, loop_call: LoopCall) -> None:
    meta = '<meta http-equiv="x" content="text/html; charset=windows-1251">'
    text = f"<html><head>{meta}</head><body><p>Привет, лампа"
    site.answers |= {
        "/": response(text.encode("cp1251"), "text/html"),
        "/odd": response(b"<p>plain words", "text/html; charset=punycode"),
    }
    assert "Привет" in ((await scrape(loop_call, site.url())).text or "")
    assert "plain words" in ((await scrape(loop_call, site.url("/odd"))).text or "")


async def test_plain_text_is_given_as_it_is(site: Site, loop_call: LoopCall) -> None:
    site.answers["/"] = response(b"one\x00\x01 two " + b"x" * 200, "text/plain")
    page = await scrape(loop_call, site.url(), max_characters=100)
    assert page.text is not None
    assert page.text.startswith("one two")
    assert page.truncated


async def test_what_is_no_page_is_told(site: Site, loop_call: LoopCall) -> None:
    site.answers |= {
        "/picture": response(b"\x89PNG", "image/png"),
        "/huge": response(b"<p>" + b"x" * 1_600_000, "text/html"),
        "/empty": response(b"", "text/html"),
    }
    for path, error in (
        ("/picture", ContentUnreadable),
        ("/missing", HttpStatus),
        ("/huge", ResponseTooLarge),
        ("/empty", ToolFailed),
    ):
        with pytest.raises(error):
            await scrape(loop_call, site.url(path))


async def test_pages_are_read_in_a_worker(site: Site, make_runner: object, tokens: TokenMaker) -> None:
    quoted = '"\\' * 500_000  # each character grows on its way to the worker
    site.answers |= {
        "/": response(PAGE.encode(), "text/html"),
        "/quotes": response(f"<p>{quoted}</p>".encode(), "text/html"),
        "/deep": response(b"<div><table><tr><td>" * 50_000 + b"deep", "text/html"),
    }
    runner = make_runner(scrape_tool(fetcher_of()))  # type: ignore[operator]
    for path in ("/", "/quotes", "/deep"):
        call = Invocation("1", "web_scrape", f'{{"url": "{site.url(path)}", "include": ["text", "tables"]}}')
        result = await runner.run(call, tokens.principal("tools.*"), None, discard)
        assert WebScrapeResult.model_validate_json(result.content).url == site.url(path)


def test_links_and_tables_are_bounded() -> None:
    html = "".join(f'<a href="/{n}">{n}</a>' for n in range(300)) + "<table><tr><td>x</table>" * 30
    page = read_page.run(
        PageArguments(
            html=html, url="http://a/", text=False, links=True, tables=True, markdown=False, max_characters=1
        ),
        None,
    )
    assert (len(page.links), len(page.tables)) == (200, 20)


async def test_the_example_gives_what_it_says(site: Site, loop_call: LoopCall) -> None:
    """At a site that has the page of the guide: only scheme, host and port are another's."""
    told = EXAMPLE.result
    [link] = told["links"]
    anchor = f"<a href='{link['url']}'>{link['text']}</a>"
    first_line = told["text"].partition("\n")[0]
    page = f"<title>{told['title']}</title><p>{first_line}</p><nav>{anchor}</nav>"
    site.answers["/"] = response(page.encode(), "text/html")
    found = await scrape(loop_call, **{**EXAMPLE.arguments, "url": site.url()})
    assert json.loads(found.to_json()) == {**told, "url": site.url()}
