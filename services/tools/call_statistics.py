"""How calls went: figures per tenant, user and tool, and metrics for all together."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import prometheus_client as prometheus

from services.rpc.errors import ServiceError
from services.rpc.principal import Principal

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

CALLS = prometheus.Counter("parley_tool_calls_total", "Tool calls that ended.", ["tool", "reason"])
CALL_SECONDS = prometheus.Histogram(
    "parley_tool_call_seconds",
    "Time that a tool call ran, waiting not included, in seconds.",
    ["tool"],
    buckets=_BUCKETS,
)
QUEUE_SECONDS = prometheus.Histogram(
    "parley_tool_queue_seconds",
    "Time that a tool call waited for its turn, in seconds.",
    buckets=_BUCKETS,
)
WAITING = prometheus.Gauge("parley_tool_calls_waiting", "Tool calls that wait for their turn.")
RUNNING = prometheus.Gauge("parley_tool_calls_running", "Tool calls that run.")

SHORTEST_SECONDS = 1e-4
LONGEST_SECONDS = 7200.0
_GROWTH = 1.25
_LAST = math.ceil(math.log(LONGEST_SECONDS / SHORTEST_SECONDS, _GROWTH))

OTHERS = ""
"""The user id of those who are no longer told apart, and the name of such tools."""

_OUTSIDE = "mcp__"
_OUTSIDE_LABEL = "mcp"


class Spread:
    """How long things took: a histogram whose buckets grow by a quarter, at most 82 of them."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._counts: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count a duration."""
        longer = max(seconds, SHORTEST_SECONDS) / SHORTEST_SECONDS
        self._counts[min(_LAST, math.ceil(math.log(longer, _GROWTH)))] += 1

    def merge(self, other: Spread) -> None:
        """Count what the other has counted."""
        self._counts.update(other._counts)

    def quantile(self, share: float) -> float | None:
        """The time that this share took at most, in seconds; None where nothing was counted."""
        wanted = share * self._counts.total()
        seen = 0
        for bucket, count in sorted(self._counts.items()):
            seen += count
            if seen >= wanted:
                return SHORTEST_SECONDS * _GROWTH**bucket
        return None


@dataclass
class Figures:
    """How some calls went.

    Attributes:
        calls: Those that ended.
        errors: Those that ended badly, by reason.
        run: How long they ran.
        queued: How long they waited.
    """

    calls: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    run: Spread = field(default_factory=Spread)
    queued: Spread = field(default_factory=Spread)

    def merge(self, other: Figures) -> None:
        """Count what the other has counted."""
        self.calls += other.calls
        self.errors.update(other.errors)
        self.run.merge(other.run)
        self.queued.merge(other.queued)


@dataclass
class _Tenant:
    since: datetime
    running: int = 0
    waiting: int = 0


@dataclass(frozen=True)
class Summary:
    """What is told of a tenant's calls.

    Attributes:
        since: Since when they were counted.
        tools: Figures by tool, by name.
        callers: Figures by user, most calls first.
        running: Calls that run now.
        waiting: Calls that wait now.
    """

    since: datetime
    tools: dict[str, Figures]
    callers: dict[str, Figures]
    running: int
    waiting: int


class CallClock:
    """Follows one call from its arrival to its end."""

    def __init__(self, tenant: _Tenant) -> None:
        """The call waits."""
        self._tenant = tenant
        self._asked = time.monotonic()
        self._started: float | None = None
        tenant.waiting += 1
        WAITING.inc()

    def start(self) -> float:
        """The call runs; the seconds that it waited."""
        self._started = time.monotonic()
        self._stop_waiting()
        self._tenant.running += 1
        RUNNING.inc()
        return self._started - self._asked

    def _stop_waiting(self) -> None:
        self._tenant.waiting -= 1
        WAITING.dec()

    def stop(self, tool: str, reason: str, figures: Figures) -> None:
        """The call ended; an empty reason is a good end."""
        # Outside servers name their tools as they like, and a label never goes away.
        label = _OUTSIDE_LABEL if tool.startswith(_OUTSIDE) else tool
        CALLS.labels(label, reason).inc()
        figures.calls += 1
        if reason:
            figures.errors[reason] += 1
        if self._started is None:
            self._stop_waiting()
            return
        self._tenant.running -= 1
        RUNNING.dec()
        queued, ran = self._started - self._asked, time.monotonic() - self._started
        QUEUE_SECONDS.observe(queued)
        CALL_SECONDS.labels(label).observe(ran)
        figures.queued.add(queued)
        figures.run.add(ran)


class CallStatistics:
    """Counts calls, bounded in memory: of users who were not heard of for long only the sum is kept."""

    def __init__(
        self,
        *,
        max_users: int = 2000,
        max_tools: int = 512,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Count from now on.

        Args:
            max_users: Users that are told apart, of all tenants together.
            max_tools: Tools that are told apart, of one user.
            clock: Tells the time.
        """
        self._max_users = max_users
        self._max_tools = max_tools
        self._clock = clock
        self._begun = clock()
        self._tenants: dict[str, _Tenant] = {}
        self._users: OrderedDict[tuple[str, str], dict[str, Figures]] = OrderedDict()
        self._others: dict[str, dict[str, Figures]] = {}

    @contextmanager
    def counting(self, tool: str, principal: Principal) -> Iterator[CallClock]:
        """Count the call that happens within, by how it ends."""
        clock = CallClock(self._tenant(principal.tenant_id))
        reason = "INTERNAL"
        try:
            yield clock
            reason = ""
        except ServiceError as error:
            reason = error.reason_name()
            raise
        except asyncio.CancelledError:
            reason = "CANCELLED"
            raise
        finally:
            clock.stop(tool, reason, self._figures(principal, tool))

    def read(self, tenant_id: str, *, tool: str = "", user_id: str = "") -> Summary:
        """The figures of a tenant; of one tool or user, where one is named."""
        tools: dict[str, Figures] = {}
        callers: dict[str, Figures] = {}
        for user, by_tool in self._of(tenant_id):
            for name, figures in by_tool.items():
                if tool in ("", name) and user_id in ("", user):
                    tools.setdefault(name, Figures()).merge(figures)
                    callers.setdefault(user, Figures()).merge(figures)
        tenant = self._tenants.get(tenant_id) or _Tenant(self._begun)
        return Summary(
            tenant.since,
            dict(sorted(tools.items())),
            dict(sorted(callers.items(), key=lambda entry: (-entry[1].calls, entry[0]))),
            tenant.running,
            tenant.waiting,
        )

    def reset(self, tenant_id: str) -> datetime:
        """Count a tenant's calls anew; from when."""
        for place in [place for place in self._users if place[0] == tenant_id]:
            del self._users[place]
        self._others.pop(tenant_id, None)
        tenant = self._tenant(tenant_id)
        tenant.since = self._clock()
        return tenant.since

    def _tenant(self, tenant_id: str) -> _Tenant:
        return self._tenants.setdefault(tenant_id, _Tenant(self._begun))

    def _of(self, tenant_id: str) -> Iterator[tuple[str, dict[str, Figures]]]:
        yield OTHERS, self._others.get(tenant_id, {})
        for (tenant, user), by_tool in self._users.items():
            if tenant == tenant_id:
                yield user, by_tool

    def _figures(self, principal: Principal, tool: str) -> Figures:
        place = (principal.tenant_id, principal.user_id)
        by_tool = self._users.setdefault(place, {})
        self._users.move_to_end(place)
        if len(self._users) > self._max_users:
            (tenant_id, _), forgotten = self._users.popitem(last=False)
            others = self._others.setdefault(tenant_id, {})
            for name, figures in forgotten.items():
                self._place(others, name).merge(figures)
        return self._place(by_tool, tool)

    def _place(self, by_tool: dict[str, Figures], tool: str) -> Figures:
        """A tool's figures; those of all further ones together, where there are too many."""
        known = tool in by_tool or len(by_tool) < self._max_tools
        return by_tool.setdefault(tool if known else OTHERS, Figures())
