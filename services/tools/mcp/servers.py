"""The outside MCP servers there are: those of the settings, and those that tenants added."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import prometheus_client as prometheus
import structlog

from services.rpc.tasks import end_task
from services.tools.catalogue import EVERYONE, Catalogue, LoopCall
from services.tools.mcp.adapting import catalogued, tool_name
from services.tools.mcp.link import Link, State
from services.tools.mcp.outcome import OutsideResult, outcome_of
from services.tools.mcp.reach import Reach
from services.tools.mcp.state import StateFile, StateUnusable
from services.tools.mcp_errors import (
    McpServerExists,
    McpServerFixed,
    McpServerNotFound,
    TooManyMcpServers,
)
from services.tools.settings import McpServerSetting

FOLLOW_SECONDS = 2.0
"""Time between two looks at what other replicas added."""
FIRST_TRY_SECONDS = 10.0
"""Time that adding a server waits for its first try."""

SERVERS = prometheus.Gauge("parley_mcp_servers", "Outside MCP servers, by how they are.", ["state"])
FAILURES = prometheus.Counter("parley_mcp_failures_total", "Connections with MCP servers that failed.")

_log = structlog.get_logger("parley.tools")

Report = Callable[[bool], Awaitable[None]]
"""Is told whether every server is ready."""

Place = tuple[str, str]
"""Tenant id, or `EVERYONE`, and name."""


@dataclass
class _Kept:
    """A server that is wanted: its link, and the tasks that keep it and its tools up to date."""

    link: Link
    running: asyncio.Task[None]
    changed: asyncio.Event
    following: asyncio.Task[None]


class McpServers:
    """Keeps a link with every server, and the catalogue with what they bring."""

    def __init__(
        self,
        catalogue: Catalogue,
        reach: Reach,
        fixed: Mapping[str, McpServerSetting],
        state: StateFile,
        report: Report,
        *,
        max_servers: int,
        max_tools: int,
    ) -> None:
        """Make it; `running` connects.

        Args:
            catalogue: Gets the servers' tools.
            reach: How servers are reached.
            fixed: Those of the settings.
            state: Keeps those that are added.
            report: Is told whether every server is ready.
            max_servers: Servers that one tenant may add.
            max_tools: Tools of one server.
        """
        self._catalogue = catalogue
        self._reach = reach
        self._fixed = dict(fixed)
        self._state = state
        self._report = report
        self._max_servers = max_servers
        self._max_tools = max_tools
        self._kept: dict[Place, _Kept] = {}
        self._seen = (-1, -1)
        self._following = asyncio.Lock()
        self._count()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connect with every server, until the block's end.

        Raises:
            StateUnusable: What was added cannot be read.
        """
        for name, setting in self._fixed.items():
            self._keep((EVERYONE, name), setting)
        await self._follow()
        following = asyncio.create_task(self._follow_others())
        try:
            yield
        finally:
            await end_task(following)
            await asyncio.gather(*(self._drop(place) for place in list(self._kept)))

    async def add(self, tenant_id: str, name: str, setting: McpServerSetting) -> Link:
        """Add a server for a tenant and wait a while for its first try.

        Raises:
            ToolsError: It may not be reached.
            McpServerExists: Another one has the name.
            TooManyMcpServers: The tenant has as many as it may.
            StateUnusable: It cannot be kept.
        """
        await self._reach.check(setting)
        if name in self._fixed:
            raise McpServerExists(name)
        await asyncio.to_thread(self._store, tenant_id, name, setting)
        await self._follow()
        link = self.get(tenant_id, name)
        link.retry()
        with suppress(TimeoutError):  # it is added, and still connecting
            async with asyncio.timeout(FIRST_TRY_SECONDS):
                await link.settled.wait()
        return link

    def _store(self, tenant_id: str, name: str, setting: McpServerSetting) -> None:
        with self._state.changing() as added:
            own = added.setdefault(tenant_id, {})
            if own.get(name, setting) != setting:
                raise McpServerExists(name)
            if name not in own and len(own) >= self._max_servers:
                raise TooManyMcpServers(self._max_servers)
            own[name] = setting

    async def remove(self, tenant_id: str, name: str) -> None:
        """Remove a tenant's server, with its program and its running calls.

        Raises:
            McpServerNotFound: The tenant has none of this name.
            McpServerFixed: It is one of the settings.
            StateUnusable: The change cannot be kept.
        """
        if self.get(tenant_id, name).fixed:
            raise McpServerFixed(name)
        await asyncio.to_thread(self._forget, tenant_id, name)
        await self._follow()

    def _forget(self, tenant_id: str, name: str) -> None:
        with self._state.changing() as added:
            added.get(tenant_id, {}).pop(name, None)

    def seen_by(self, tenant_id: str) -> list[Link]:
        """The tenant's servers and those of the settings, by name."""
        seen = [kept.link for (owner, _), kept in self._kept.items() if owner in (EVERYONE, tenant_id)]
        return sorted(seen, key=lambda link: link.name)

    def get(self, tenant_id: str, name: str) -> Link:
        """One of them.

        Raises:
            McpServerNotFound: There is none of this name.
        """
        seen = {link.name: link for link in self.seen_by(tenant_id)}
        if name not in seen:
            nearest = next(iter(difflib.get_close_matches(name, seen, n=1)), "")
            raise McpServerNotFound(name, nearest)
        return seen[name]

    async def _follow_others(self) -> None:
        """Take over what other replicas add and remove."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            try:
                await self._follow()
            except StateUnusable:
                _log.exception("added MCP servers cannot be read")

    async def _follow(self) -> None:
        """Make what runs what the file says."""
        async with self._following:
            version = self._state.version
            if version == self._seen:
                return
            added = await asyncio.to_thread(self._state.read)
            await self._become(
                {
                    (tenant, name): setting
                    for tenant, own in added.items()
                    for name, setting in own.items()
                    if name not in self._fixed
                }
            )
            self._seen = version

    async def _become(self, wanted: Mapping[Place, McpServerSetting]) -> None:
        """Make what runs what is wanted, beside the servers of the settings."""
        for place, kept in list(self._kept.items()):
            if not kept.link.fixed and wanted.get(place) != kept.link.setting:
                await self._drop(place)
        for place, setting in wanted.items():
            if place not in self._kept:
                self._keep(place, setting)
        await self._tell()

    def _keep(self, place: Place, setting: McpServerSetting) -> None:
        """Begin to connect with a server."""
        changed = asyncio.Event()
        link = Link(
            place[1],
            setting,
            self._reach,
            lambda _: changed.set(),
            fixed=place[0] == EVERYONE,
            max_tools=self._max_tools,
        )
        running = asyncio.create_task(link.run())
        following = asyncio.create_task(self._bring(place, link, changed))
        self._kept[place] = _Kept(link, running, changed, following)

    async def _drop(self, place: Place) -> None:
        """End the link with a server, and take its tools away."""
        kept = self._kept.pop(place)
        # Asked once: a program is left two seconds to end by itself, and asking again would cut them short.
        kept.running.cancel()
        await asyncio.gather(kept.running, end_task(kept.following), return_exceptions=True)
        self._catalogue.bring(place[0], place[1], ())

    async def _bring(self, place: Place, link: Link, changed: asyncio.Event) -> None:
        """Keep the catalogue with what a server has, whenever that changes."""
        while True:
            await changed.wait()
            changed.clear()
            problem = link.problem and f"the MCP server {link.name} cannot be used now: {link.problem}"
            ask = self._asking(link)
            found = list(link.found)
            # Checking strangers' schemas takes its time.
            tools = await asyncio.to_thread(catalogued, link.name, link.setting, found, ask, problem)
            self._catalogue.bring(*place, tools)
            if link.state is State.FAILED:
                FAILURES.inc()
            await self._tell()

    def _asking(self, link: Link) -> Callable[[str, dict[str, Any], LoopCall], Awaitable[OutsideResult]]:
        async def ask(tool: str, arguments: dict[str, Any], call: LoopCall) -> OutsideResult:
            return outcome_of(tool_name(link.name, tool), await link.call(tool, arguments, call))

        return ask

    async def _tell(self) -> None:
        """Show how the servers are, in metrics and health."""
        await self._report(State.FAILED not in self._count())

    def _count(self) -> list[State]:
        """Tell how many there are of each state, none included."""
        states = [kept.link.state for kept in self._kept.values()]
        for state in State:
            SERVERS.labels(state.name.lower()).set(states.count(state))
        return states
