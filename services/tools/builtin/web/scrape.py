"""`web_scrape`: what people read on a page."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from services.tools.builtin.web.contents import is_page, media_type, text_of
from services.tools.builtin.web.fetching import Fetcher, Incoming, Outgoing
from services.tools.builtin.web.reading import (
    MAX_HTML_CHARACTERS,
    MAX_TEXT_CHARACTERS,
    Link,
    Page,
    PageArguments,
    Table,
    read_page,
)
from services.tools.builtin.web.urls import MAX_URL_CHARACTERS, parse_url
from services.tools.catalogue import (
    Arguments,
    Category,
    Example,
    LoopCall,
    SafetyLevel,
    Tool,
    ToolResult,
    tool,
)
from services.tools.web_errors import HttpStatus, ResponseTooLarge

MAX_OUTPUT_BYTES = 512 * 2**10

# They mean nothing in HTML, and each would be six characters on its way to the worker.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

Part = Literal["text", "links", "tables"]


class WebScrapeArguments(Arguments):
    """What `web_scrape` takes."""

    url: str = Field(
        min_length=1,
        max_length=MAX_URL_CHARACTERS,
        description="The page's http or https URL on the public internet.",
        examples=["https://example.com/"],
    )
    include: list[Part] = Field(
        ["text"],
        min_length=1,
        max_length=3,
        description="What to give of the page.",
    )
    format: Literal["text", "markdown"] = Field("text", description="How the text is written.")
    max_characters: int = Field(
        20_000, ge=100, le=MAX_TEXT_CHARACTERS, description="Characters of text; what is beyond is cut."
    )


class WebScrapeResult(ToolResult):
    """What `web_scrape` gives."""

    url: str = Field(description="Where the page came from, after redirects.")
    title: str | None = Field(None, description="The page's title.")
    text: str | None = Field(None, description="Its readable text, without menus and adverts.")
    links: list[Link] | None = Field(None, description="Where it links to, each address once; at most 200.")
    tables: list[Table] | None = Field(None, description="Its tables, as rows of cells; at most 20.")
    truncated: bool = Field(description="The text was cut.")


EXAMPLE = Example(
    "Read a page",
    {"url": "https://example.com/", "include": ["text", "links"]},
    {
        "url": "https://example.com/",
        "title": "Example Domain",
        "text": "This domain is for use in documentation examples.\nLearn more",
        "links": [{"text": "Learn more", "url": "https://iana.org/domains/example"}],
        "truncated": False,
    },
    varies=True,
)


def scrape_tool(fetcher: Fetcher) -> Tool:
    """The tool, fetching by this fetcher."""

    @tool(
        category=Category.WEB,
        safety=SafetyLevel.DANGEROUS,
        timeout_seconds=45,
        max_output_bytes=MAX_OUTPUT_BYTES,
        examples=(EXAMPLE,),
    )
    async def web_scrape(arguments: WebScrapeArguments, call: LoopCall) -> WebScrapeResult:
        """Reads a page of the public internet: its readable text, and its links and tables if asked for."""
        headers = (("accept", "text/html,application/xhtml+xml,text/plain;q=0.8"),)
        target = parse_url(arguments.url.partition("#")[0])
        response = await fetcher.fetch(Outgoing("GET", target, headers))
        page = await _read(arguments, response, call)
        return WebScrapeResult(url=str(response.target), **dict(page))

    return web_scrape


async def _read(arguments: WebScrapeArguments, response: Incoming, call: LoopCall) -> Page:
    if response.status >= 300:
        raise HttpStatus(response.target.host, response.status)
    text = _CONTROLS.sub("", text_of(response))
    if not is_page(media_type(response)):
        return Page(text=text[: arguments.max_characters], truncated=len(text) > arguments.max_characters)
    if len(text) > MAX_HTML_CHARACTERS:
        raise ResponseTooLarge(response.target.host, MAX_HTML_CHARACTERS)
    wanted = PageArguments(
        html=text,
        url=str(response.target),
        text="text" in arguments.include,
        links="links" in arguments.include,
        tables="tables" in arguments.include,
        markdown=arguments.format == "markdown",
        max_characters=arguments.max_characters,
    )
    return Page.model_validate(await call.compute(read_page, wanted))
