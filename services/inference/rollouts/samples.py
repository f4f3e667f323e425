"""What a run shows of the variant that answers it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from google.rpc import code_pb2, status_pb2

from services.inference.reading.step import Delta
from services.inference.runs.events import CallResult, Finished, FinishReason, RunEvent, RunUsage, Started
from services.inference.runs.turn_source import CacheState
from services.rpc.errors import ServiceError, error_info

# An answer of fewer says little of how fast a model speaks.
MIN_SPOKEN_TOKENS = 8

ENDED_FROM_OUTSIDE = frozenset(
    {FinishReason.CANCELLED, FinishReason.REVOKED, FinishReason.BUDGET, FinishReason.SLOW_READER}
)
"""These say nothing of the model: somebody or something else ended the run."""

_REUSED = (CacheState.HIT, CacheState.SHARED)
_OTHERS_DOING = ("APPROVAL_", "CLIENT_TOOL_")
# What the platform is to blame for, of that with which a run does not even begin.
_FAULTS = frozenset({code_pb2.UNAVAILABLE, code_pb2.INTERNAL, code_pb2.ABORTED, code_pb2.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run shows.

    Attributes:
        failed: Whether it failed.
        first_token_seconds: Until it said something; None where nothing can be learnt from that.
        tokens_per_second: While the model spoke; None likewise.
        tool_calls: Calls of the platform's tools that ended.
        tool_failures: Of them, those that failed.
    """

    failed: bool
    first_token_seconds: float | None = None
    tokens_per_second: float | None = None
    tool_calls: int = 0
    tool_failures: int = 0


FAILED = Sample(failed=True)


def sample_of(error: ServiceError) -> Sample | None:
    """What is learnt from a run that could not begin: nothing, where what was asked is the reason."""
    return FAILED if error.code.value[0] in _FAULTS else None


async def sampled(
    events: AsyncGenerator[RunEvent, None], take: Callable[[Sample], None]
) -> AsyncGenerator[RunEvent, None]:
    """The same events; at their end, what the run shows is taken."""
    watch = Watch()
    async with aclosing(events):
        async for event in events:
            watch.note(event)
            if isinstance(event, Finished) and event.reason not in ENDED_FROM_OUTSIDE:
                take(watch.sample(event))
            yield event


class Watch:
    """Looks on while a run speaks."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._first: float | None = None
        self._turn_began: float | None = None
        self._spoke_seconds = 0.0
        self._usage = RunUsage()
        self._reused = False
        self._calls = self._failures = 0

    def note(self, event: RunEvent) -> None:
        """See what happens; deltas, the most frequent, first."""
        match event:
            case _ if isinstance(event, Delta):
                if self._turn_began is None:
                    self._turn_began = time.perf_counter()
                    self._first = self._first or self._turn_began - self._began
            case RunUsage():
                self._end_turn(event)
            case CallResult():
                self._note_call(event.error)
            case Started():
                self._reused = event.cache in _REUSED

    def _end_turn(self, usage: RunUsage) -> None:
        if self._turn_began is not None:
            self._spoke_seconds += time.perf_counter() - self._turn_began
        self._turn_began, self._usage = None, usage

    def _note_call(self, error: status_pb2.Status | None) -> None:
        info = error_info(error) if error is not None else None
        if info is not None and info.reason.startswith(_OTHERS_DOING):
            return
        self._calls += 1
        self._failures += error is not None

    def sample(self, finished: Finished) -> Sample:
        """What the run shows, now that it is over."""
        # The first token of a turn is the one that its time is counted from.
        tokens = self._usage.completion_tokens - self._usage.turns
        learnt = not self._reused and not self._usage.reused_tokens
        spoke = learnt and tokens >= MIN_SPOKEN_TOKENS and self._spoke_seconds > 0
        return Sample(
            failed=finished.reason is FinishReason.ERROR,
            first_token_seconds=self._first if learnt else None,
            tokens_per_second=tokens / self._spoke_seconds if spoke else None,
            tool_calls=self._calls,
            tool_failures=self._failures,
        )
