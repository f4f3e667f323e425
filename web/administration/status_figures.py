"""How the platform is doing, in words and figures for people. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from parley.inference.v1 import inference_service_pb2, model_pb2
from parley.tools.v1 import stats_pb2, tool_service_pb2
from web.card import seconds

WINDOW_SECONDS = 300.0
"""Time back over which the rate of failed calls is told, while somebody looks."""

MAX_SAMPLES = 600

_STATES = {
    model_pb2.MODEL_STATE_READY: ("done", "ready"),
    model_pb2.MODEL_STATE_LOADING: ("running", "loading"),
    model_pb2.MODEL_STATE_FAILED: ("failed", "coming back"),
}


@dataclass(frozen=True)
class Engine:
    """A replica's engine; figures are empty where it tells none.

    Attributes:
        name: The end of the replica's id, enough to tell it from others.
        mark: The class of its state's colour.
        running: Requests that it generates, of those that it can at once.
        load: The same as a share, 0 to 1.
        waiting: Requests that wait for a seat or within it.
        kv: Share of the KV cache in use, 0 to 1.
        hits: Share of prompt tokens that the prefix cache had, since the engine began.
    """

    name: str
    mark: str
    state: str
    running: str = ""
    load: float = 0.0
    waiting: str = ""
    kv: float | None = None
    hits: str = ""
    preemptions: str = ""


@dataclass(frozen=True)
class Pool:
    """A model and the replicas that serve it."""

    name: str
    state: str
    mark: str
    engines: tuple[Engine, ...]


def pool(model: model_pb2.Model, told: inference_service_pb2.GetModelResponse | None) -> Pool:
    """A model as the list has it, with what its replicas told; None where they could not be asked."""
    mark, state = _STATES.get(model.state, ("failed", "unknown"))
    return Pool(model.name, state, mark, tuple(map(_engine, told.replicas)) if told is not None else ())


def _engine(replica: model_pb2.ReplicaStatus) -> Engine:
    mark, state = _STATES.get(replica.state, ("failed", "unknown"))
    name = replica.replica_id[-6:].lower()
    if not replica.HasField("engine_status"):
        return Engine(name, mark, state)
    status = replica.engine_status
    return Engine(
        name,
        mark,
        state,
        f"{status.running_requests:,} of {status.slots:,}",
        min(1.0, status.running_requests / status.slots) if status.slots else 0.0,
        f"{status.waiting_requests:,}",
        min(1.0, max(0.0, status.kv_cache_use)),
        percent(status.prefix_hits, status.prefix_queries),
        f"{status.preemptions:,}",
    )


def percent(part: float, whole: float) -> str:
    """A share for people; a dash where there is nothing to share."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


@dataclass(frozen=True)
class ToolLine:
    """How the calls of a tool went."""

    name: str
    calls: str
    failed: str
    reason: str
    half: str
    most: str


def tool_lines(told: tool_service_pb2.GetStatsResponse, most: int) -> list[ToolLine]:
    """The tools that were called most, the busiest first."""
    busiest = sorted(told.tools, key=lambda each: (-each.stats.calls, each.tool))[:most]
    return [_tool_line(each) for each in busiest]


def _tool_line(given: stats_pb2.ToolStats) -> ToolLine:
    stats = given.stats
    return ToolLine(
        given.tool or "others",
        f"{stats.calls:,}",
        percent(_failed([given]), stats.calls),
        stats.errors[0].reason if stats.errors else "",
        seconds(stats.run_p50.ToTimedelta().total_seconds()) if stats.HasField("run_p50") else "-",
        seconds(stats.run_p95.ToTimedelta().total_seconds()) if stats.HasField("run_p95") else "-",
    )


def _failed(tools: Iterable[stats_pb2.ToolStats]) -> int:
    return sum(count.calls for each in tools for count in each.stats.errors)


class Recent:
    """What happened lately, from counters that were read again and again."""

    def __init__(self) -> None:
        """Nothing was read yet."""
        self._read: deque[tuple[float, int, int]] = deque(maxlen=MAX_SAMPLES)

    def read(self, at: float, tools: Sequence[stats_pb2.ToolStats]) -> None:
        """Take in counters as they are at `at`, in seconds of a steady clock. Smaller ones began anew."""
        calls, failed = sum(each.stats.calls for each in tools), _failed(tools)
        if self._read and (calls < self._read[-1][1] or failed < self._read[-1][2]):
            self._read.clear()
        self._read.append((at, calls, failed))
        while at - self._read[0][0] > WINDOW_SECONDS:
            self._read.popleft()

    @property
    def words(self) -> str:
        """Calls and failures since the oldest reading; empty where there is but one."""
        return next(self._words(), "")

    def _words(self) -> Iterator[str]:
        if len(self._read) > 1:
            (since, calls, failed), (until, all_calls, all_failed) = self._read[0], self._read[-1]
            happened, bad = all_calls - calls, all_failed - failed
            yield f"{happened:,} calls in the last {seconds(until - since)}, {percent(bad, happened)} failed"
