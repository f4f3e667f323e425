from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from services.rpc.principal import Principal
from services.tools.call_statistics import LONGEST_SECONDS, OTHERS, SHORTEST_SECONDS, CallStatistics, Spread
from services.tools.errors import ToolFailed
from tests.conftest import TokenMaker


@pytest.fixture
def somebody(tokens: TokenMaker) -> Callable[..., Principal]:
    def make(user_id: str, tenant_id: str = "tenant-1") -> Principal:
        return tokens.principal("tools.*", user_id=user_id, tenant_id=tenant_id)

    return make


def call(
    statistics: CallStatistics, tool: str, principal: Principal, error: BaseException | None = None
) -> None:
    """A call that ends, well or with this error."""
    with contextlib.ExitStack() as stack:
        if error is not None:
            stack.enter_context(pytest.raises(type(error)))
        clock = stack.enter_context(statistics.counting(tool, principal))
        clock.start()
        if error is not None:
            raise error


@given(
    st.lists(st.floats(SHORTEST_SECONDS, LONGEST_SECONDS), min_size=1, max_size=50),
    st.sampled_from([0.5, 0.95]),
)
def test_a_quantile_is_at_most_a_quarter_too_long(durations: list[float], share: float) -> None:
    spread = Spread()
    for seconds in durations:
        spread.add(seconds)
    true = sorted(durations)[max(0, -(-int(share * 100) * len(durations) // 100) - 1)]
    found = spread.quantile(share)
    assert found is not None
    assert true * 0.999 <= found <= true * 1.26


def test_a_spread_holds_little_whatever_it_is_told() -> None:
    spread = Spread()
    for power in range(-30, 30):
        spread.add(2.0**power)
    assert spread.quantile(0) == pytest.approx(SHORTEST_SECONDS)
    assert (spread.quantile(1) or 0) <= LONGEST_SECONDS * 1.25
    assert Spread().quantile(0.5) is None


def test_figures_by_tool_and_by_user(somebody: Callable[..., Principal]) -> None:
    statistics = CallStatistics()
    for user, tool, error in (
        ("ada", "echo", None),
        ("ada", "echo", ToolFailed("echo", "no")),
        ("ada", "calculator", None),
        ("bob", "echo", asyncio.CancelledError()),
        ("bob", "echo", RuntimeError()),
    ):
        call(statistics, tool, somebody(user), error)
    summary = statistics.read("tenant-1")
    assert list(summary.tools) == ["calculator", "echo"]
    assert summary.tools["echo"].calls == 4
    assert summary.tools["echo"].errors == {"TOOL_FAILED": 1, "CANCELLED": 1, "INTERNAL": 1}
    assert {user: figures.calls for user, figures in summary.callers.items()} == {"ada": 3, "bob": 2}
    assert list(summary.callers) == ["ada", "bob"]
    only = statistics.read("tenant-1", tool="echo", user_id="ada")
    assert (only.tools["echo"].calls, list(only.callers)) == (2, ["ada"])


def test_a_tenant_sees_only_its_own(somebody: Callable[..., Principal]) -> None:
    statistics = CallStatistics()
    call(statistics, "echo", somebody("ada"))
    assert statistics.read("tenant-2").tools == {}
    statistics.reset("tenant-2")
    assert statistics.read("tenant-1").tools["echo"].calls == 1


def test_resetting_starts_anew(somebody: Callable[..., Principal]) -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    statistics = CallStatistics(clock=lambda: now)
    call(statistics, "echo", somebody("ada"))
    assert statistics.read("tenant-1").since == now
    now += timedelta(hours=1)
    with statistics.counting("echo", somebody("ada")) as clock:
        clock.start()
        assert statistics.reset("tenant-1") == now
        summary = statistics.read("tenant-1")
        assert (summary.tools, summary.since, summary.running) == ({}, now, 1)
    assert statistics.read("tenant-1").tools["echo"].calls == 1


def test_waiting_and_running_are_told_apart(somebody: Callable[..., Principal]) -> None:
    statistics = CallStatistics()
    gauges = ("parley_tool_calls_waiting", "parley_tool_calls_running")
    before = [REGISTRY.get_sample_value(name) or 0 for name in gauges]
    with statistics.counting("echo", somebody("ada")) as clock:
        waits = statistics.read("tenant-1")
        assert (waits.waiting, waits.running) == (1, 0)
        assert clock.start() >= 0
        runs = statistics.read("tenant-1")
        assert (runs.waiting, runs.running) == (0, 1)
    over = statistics.read("tenant-1")
    assert (over.waiting, over.running) == (0, 0)
    assert [REGISTRY.get_sample_value(name) for name in gauges] == before


def test_a_call_that_never_ran_has_no_times(somebody: Callable[..., Principal]) -> None:
    statistics = CallStatistics()
    with pytest.raises(ToolFailed), statistics.counting("echo", somebody("ada")):
        raise ToolFailed("echo", "refused")
    figures = statistics.read("tenant-1").tools["echo"]
    assert (figures.calls, figures.run.quantile(0.5), figures.queued.quantile(0.5)) == (1, None, None)
    assert statistics.read("tenant-1").waiting == 0


def test_users_not_heard_of_for_long_become_a_sum(somebody: Callable[..., Principal]) -> None:
    statistics = CallStatistics(max_users=2)
    for user in ("ada", "bob", "ada", "eve", "zoe"):
        call(statistics, "echo", somebody(user))
    callers = statistics.read("tenant-1").callers
    assert {user: figures.calls for user, figures in callers.items()} == {OTHERS: 3, "eve": 1, "zoe": 1}
    assert statistics.read("tenant-1").tools["echo"].calls == 5
    statistics.reset("tenant-1")
    assert statistics.read("tenant-1").callers == {}


def test_tools_beyond_so_many_become_a_sum(somebody: Callable[..., Principal]) -> None:
    statistics = CallStatistics(max_users=1, max_tools=2)
    for user in ("ada", "bob", "eve"):
        for tool in ("mcp__files__a", "mcp__files__b", f"mcp__files__of-{user}", f"mcp__files__{user}"):
            call(statistics, tool, somebody(user))
    tools = {name: figures.calls for name, figures in statistics.read("tenant-1").tools.items()}
    assert tools == {OTHERS: 6, "mcp__files__a": 3, "mcp__files__b": 3}


def test_outside_tools_share_one_label(somebody: Callable[..., Principal]) -> None:
    """Their servers make up names, and a label stays for as long as the process."""

    def counted(tool: str) -> float | None:
        return REGISTRY.get_sample_value("parley_tool_calls_total", {"tool": tool, "reason": ""})

    before = counted("mcp") or 0
    for tool in ("mcp__files__made_up", "mcp__files__made_up_too"):
        call(CallStatistics(), tool, somebody("ada"))
    assert (counted("mcp"), counted("mcp__files__made_up")) == (before + 2, None)
