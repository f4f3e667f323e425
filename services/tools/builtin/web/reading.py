"""What people read on a page: its text, links and tables.

This runs in a worker process. Pages are written by strangers; a parser that
hangs, crashes or swells takes nothing down but its own process.
"""

from __future__ import annotations

import copy
from itertools import islice
from urllib.parse import urljoin

import lxml.html
from lxml.etree import ParserError
from pydantic import Field

from services.tools.catalogue import Arguments, Category, SafetyLevel, ToolResult, WorkerCall, tool
from services.tools.errors import ToolFailed

MAX_HTML_CHARACTERS = 3 * 2**19
MAX_TEXT_CHARACTERS = 100_000
MAX_LINKS = 200
MAX_TABLES = 20
MAX_ROWS = 200
MAX_CELLS = 40
MAX_CELL_CHARACTERS = 500

Table = list[list[str]]


class PageArguments(Arguments):
    """A page, and what is wanted of it."""

    html: str = Field(max_length=MAX_HTML_CHARACTERS)
    url: str
    text: bool
    links: bool
    tables: bool
    markdown: bool
    max_characters: int


class Link(ToolResult):
    """A link of a page."""

    text: str = Field(description="What it says.")
    url: str = Field(description="Where it leads.")


class Page(ToolResult):
    """What is on a page, as far as it was asked for."""

    title: str | None = None
    text: str | None = None
    links: list[Link] | None = None
    tables: list[Table] | None = None
    truncated: bool = False


@tool(
    category=Category.WEB,
    safety=SafetyLevel.SAFE,
    timeout_seconds=30,
    max_output_bytes=2**20,
    idempotent=True,
)
def read_page(arguments: PageArguments, _call: WorkerCall) -> Page:
    """Reads a page."""
    document = _document(arguments.html)
    text = _text(arguments, document) if arguments.text else None
    return Page(
        title=_title(document),
        text=text[: arguments.max_characters] if text is not None else None,
        links=_links(document, arguments.url) if arguments.links else None,
        tables=_tables(document) if arguments.tables else None,
        truncated=text is not None and len(text) > arguments.max_characters,
    )


def _document(html: str) -> lxml.html.HtmlElement:
    parser = lxml.html.HTMLParser(encoding="utf-8", remove_comments=True, no_network=True)
    try:
        return lxml.html.document_fromstring(html.encode("utf-8", "replace"), parser=parser)
    except ParserError:
        raise ToolFailed("web_scrape", "The page is empty.") from None


def _text(arguments: PageArguments, document: lxml.html.HtmlElement) -> str:
    """The page's own text, without menus and adverts; all of its text where no such part is found."""
    import trafilatura  # only in workers, at the first page: it takes a second and 30 MiB

    found = trafilatura.extract(
        copy.deepcopy(document),  # it takes the document to pieces
        url=arguments.url,
        output_format="markdown" if arguments.markdown else "txt",
        include_comments=False,
        include_tables=True,
        include_formatting=arguments.markdown,
    )
    return found or trafilatura.html2txt(copy.deepcopy(document))


def _title(document: lxml.html.HtmlElement) -> str | None:
    return _words(document.findtext(".//title") or "") or None


def _links(document: lxml.html.HtmlElement, url: str) -> list[Link]:
    found: dict[str, Link] = {}
    for element in document.iterfind(".//a[@href]"):
        if len(found) >= MAX_LINKS:
            break
        try:
            address = urljoin(url, element.get("href").strip()).partition("#")[0]
        except ValueError:  # a reference that is no reference
            continue
        if address.startswith(("http://", "https://")):
            found.setdefault(address, Link(text=_words(element.text_content()), url=address))
    return list(found.values())


def _tables(document: lxml.html.HtmlElement) -> list[Table]:
    tables = [_table(element) for element in islice(document.iterfind(".//table"), MAX_TABLES)]
    return [table for table in tables if table]


def _table(element: lxml.html.HtmlElement) -> Table:
    rows = [_row(row) for row in islice(element.iterfind(".//tr"), MAX_ROWS)]
    return [row for row in rows if row]


def _row(row: lxml.html.HtmlElement) -> list[str]:
    cells = (cell for cell in row if cell.tag in ("td", "th"))
    return [_words(cell.text_content()) for cell in islice(cells, MAX_CELLS)]


def _words(text: str) -> str:
    return " ".join(text.split())[:MAX_CELL_CHARACTERS]
