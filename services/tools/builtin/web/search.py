"""`web_search`: a search by the operator's SearXNG (https://docs.searxng.org/dev/search_api.html)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import jiter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from services.tools.builtin.web.fetching import Fetcher, Incoming, Outgoing
from services.tools.builtin.web.urls import parse_url
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
from services.tools.web_errors import ContentUnreadable, HttpStatus

NOT_CONFIGURED = "no search endpoint is configured; the operator sets PARLEY_TOOLS_SEARCH_URL"

_MAX_TITLE = 300
_MAX_SNIPPET = 1000
_MAX_HINTS = 10


class WebSearchArguments(Arguments):
    """What `web_search` takes."""

    query: str = Field(
        min_length=1, max_length=512, description="What to search for.", examples=["gRPC deadlines"]
    )
    max_results: int = Field(8, ge=1, le=20, description="Results to give at most.")
    page: int = Field(1, ge=1, le=10, description="Which page of results, counted from 1.")
    language: str | None = Field(
        None, pattern=r"^[a-z]{2,3}(-[A-Z]{2})?$", description="Language of the results, as en or pt-BR."
    )
    time_range: Literal["day", "month", "year"] | None = Field(
        None, description="Only results not older than this."
    )
    category: Literal["general", "news", "science", "it", "images", "videos"] = Field(
        "general", description="What kind of results."
    )


class SearchHit(ToolResult):
    """A result of the search."""

    title: str
    url: str
    snippet: str | None = Field(None, description="A piece of the page.")
    published: str | None = Field(None, description="When it was published, as the engine says it.")


class WebSearchResult(ToolResult):
    """What `web_search` gives."""

    query: str = Field(description="The query, as it was given.")
    results: list[SearchHit] = Field(description="Best first.")
    answers: list[str] | None = Field(None, description="Direct answers of the engines.")
    suggestions: list[str] | None = Field(None, description="Other queries that may find more.")


def _text(value: Any) -> str:
    """Engines differ; what is no text says nothing."""
    return value if isinstance(value, str) else ""


Loose = Annotated[str, BeforeValidator(_text)]


class _Hit(BaseModel):
    model_config = ConfigDict(extra="ignore")

    url: Loose = ""
    title: Loose = ""
    content: Loose = ""
    publishedDate: Loose = ""  # noqa: N815 - SearXNG's name


class _Answer(BaseModel):
    """A response of SearXNG."""

    model_config = ConfigDict(extra="ignore")

    results: list[_Hit]
    answers: list[Any] = Field(default_factory=list)
    suggestions: list[Any] = Field(default_factory=list)


@dataclass(frozen=True)
class SearchEndpoint:
    """A SearXNG.

    Attributes:
        url: Its base URL.
        fetcher: Reaches it, wherever it is: the operator named it.
    """

    url: str
    fetcher: Fetcher

    async def search(self, arguments: WebSearchArguments) -> WebSearchResult:
        """Ask it.

        Raises:
            ToolsError: It cannot be reached, refuses, or answers with something else.
        """
        target = parse_url(f"{self.url.rstrip('/')}/search?{urlencode(_parameters(arguments))}")
        response = await self.fetcher.fetch(Outgoing("GET", target, (("accept", "application/json"),)))
        if response.status != 200:
            raise HttpStatus(response.target.host, response.status)
        return _result(arguments, _parsed(response))


def search_tool(endpoint: SearchEndpoint | None) -> Tool:
    """The tool; without an endpoint one that says why it cannot be called."""

    @tool(category=Category.WEB, safety=SafetyLevel.RESTRICTED, timeout_seconds=30, examples=(EXAMPLE,))
    async def web_search(arguments: WebSearchArguments, _call: LoopCall) -> WebSearchResult:
        """Searches the web and gives titles, addresses and snippets."""
        assert endpoint is not None  # noqa: S101 - not called while it is unavailable
        return await endpoint.search(arguments)

    return web_search if endpoint else replace(web_search, unavailable=NOT_CONFIGURED)


def _parameters(arguments: WebSearchArguments) -> dict[str, str]:
    asked = {
        "q": arguments.query,
        "format": "json",
        "pageno": str(arguments.page),
        "categories": arguments.category,
        "safesearch": "1",
        "language": arguments.language,
        "time_range": arguments.time_range,
    }
    return {name: value for name, value in asked.items() if value is not None}


def _parsed(response: Incoming) -> _Answer:
    try:
        return _Answer.model_validate(jiter.from_json(response.body))
    except (ValueError, ValidationError):
        kind = response.header("content-type")
        raise ContentUnreadable(response.target.host, kind, "it is no answer of SearXNG") from None


def _result(arguments: WebSearchArguments, answer: _Answer) -> WebSearchResult:
    hits = [hit for hit in answer.results if hit.url.startswith(("http://", "https://"))]
    return WebSearchResult(
        query=arguments.query,
        results=[
            SearchHit(
                title=hit.title[:_MAX_TITLE],
                url=hit.url,
                snippet=hit.content[:_MAX_SNIPPET] or None,
                published=hit.publishedDate[:64] or None,
            )
            for hit in hits[: arguments.max_results]
        ],
        answers=_hints(answer.answers) or None,
        suggestions=_hints(answer.suggestions) or None,
    )


def _hints(values: list[Any]) -> list[str]:
    """Texts; newer releases wrap answers in objects."""
    texts = [value.get("answer") if isinstance(value, dict) else value for value in values[:_MAX_HINTS]]
    return [text[:_MAX_SNIPPET] for text in texts if isinstance(text, str) and text]


EXAMPLE = Example(
    "Search the web",
    {"query": "gRPC deadlines", "max_results": 1},
    {
        "query": "gRPC deadlines",
        "results": [
            {
                "title": "Deadlines",
                "url": "https://grpc.io/docs/guides/deadlines/",
                "snippet": "A deadline is a point in time past which a client is unwilling to wait.",
            }
        ],
    },
    varies=True,
)
