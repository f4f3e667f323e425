"""Ends runs with the call that asked for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
from grpc_status import rpc_status

from services.inference.errors import ReaderTooSlow
from services.inference.runs.events import FinishReason
from services.inference.runs.registry import Run
from services.rpc.call import current_call
from services.rpc.errors import ServiceError

Context = grpc.aio.ServicerContext[Any, Any]


# The loop keeps no task alive by itself.
_ABORTING: set[asyncio.Task[None]] = set()


class _Tied:
    """The runs of a call, and what ended them all; those that are opened later end at once."""

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self._ended: FinishReason | None = None

    def add(self, run: Run) -> None:
        self._runs.append(run)
        if self._ended is not None:
            run.end(self._ended)

    def end(self, reason: FinishReason) -> None:
        self._ended = reason
        for run in self._runs:
            run.end(reason)


def ends_with(context: Context) -> Callable[[Run], None]:
    """Ties runs to a call: they end when the client is gone, or its token is revoked."""
    tied = _Tied()
    # A client that vanishes while it is being written to leaves no other trace.
    context.add_done_callback(at_the_end(lambda: tied.end(FinishReason.CANCELLED)))

    def opened(run: Run) -> None:
        tied.add(run)
        current_call().when_revoked = lambda: tied.end(FinishReason.REVOKED)

    return opened


def cuts(context: Context, seconds: float) -> Callable[[], None]:
    """Cuts the call that the current task serves, whose client took nothing for so long.

    A task that is cancelled while it writes ends without a status, and a client
    that reads again would wait for one for ever; so the status goes first.
    """
    task = asyncio.current_task()

    def cut() -> None:
        aborting = asyncio.create_task(_abort(context, ReaderTooSlow(seconds)))
        _ABORTING.add(aborting)
        aborting.add_done_callback(_ABORTING.discard)
        if task is not None:
            task.cancel()

    return cut


async def _abort(context: Context, error: ServiceError) -> None:
    """Send a status behind what is being written; it is over when the client read that, or is gone."""
    status = rpc_status.to_status(error.to_status())
    with suppress(grpc.aio.BaseError, asyncio.CancelledError):
        await context.abort(status.code, status.details, status.trailing_metadata or ())


def at_the_end(do: Callable[[], None]) -> Any:
    """Does this when a call is over; grpc's stubs type such callbacks as no function can be."""

    def end(_context: Context) -> None:
        do()

    return end
