"""The tools of the web category, built from settings."""

from __future__ import annotations

import ssl
from pathlib import Path

from services.tools.addresses import EVERY_NETWORK, AddressGuard, Resolver
from services.tools.builtin.web.api import api_tool
from services.tools.builtin.web.fetching import Fetcher, FetchLimits
from services.tools.builtin.web.scrape import scrape_tool
from services.tools.builtin.web.search import SearchEndpoint, search_tool
from services.tools.catalogue import Tool
from services.tools.settings import ToolsSettings


def web_tools(settings: ToolsSettings, resolve: Resolver) -> tuple[Tool, ...]:
    """The tools, as the settings want them.

    Raises:
        OSError: The authorities' file cannot be read.
    """
    limits = FetchLimits(redirects=settings.web_max_redirects, body_bytes=settings.web_max_response_bytes)
    guard = AddressGuard(resolve, frozenset(settings.web_ports), tuple(settings.web_open_networks))
    tls = trust(settings.web_authority_path)
    endpoint = None
    if settings.search_url:
        anywhere = AddressGuard(resolve, None, EVERY_NETWORK)
        endpoint = SearchEndpoint(
            settings.search_url, Fetcher(anywhere, FetchLimits(0, body_bytes=2**20), tls)
        )
    fetcher = Fetcher(guard, limits, tls)
    return (api_tool(fetcher), scrape_tool(fetcher), search_tool(endpoint))


def trust(authority: Path | None) -> ssl.SSLContext:
    """What servers' certificates are checked against: the machine's authorities, and this file's.

    Raises:
        OSError: The file cannot be read.
    """
    context = ssl.create_default_context()
    if authority is not None:
        context.load_verify_locations(authority)
    return context
