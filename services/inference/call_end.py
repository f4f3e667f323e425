"""Ends a run with the call that asked for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from services.inference.events import FinishReason
from services.inference.runs import Run
from services.rpc.call import current_call

Context = grpc.aio.ServicerContext[Any, Any]


def ends_with(context: Context) -> Callable[[Run], None]:
    """Ties a run to a call: it ends when the client is gone, or its token is revoked."""

    def opened(run: Run) -> None:
        # A client that vanishes while it is being written to leaves no other trace.
        context.add_done_callback(at_the_end(lambda: run.end(FinishReason.CANCELLED)))
        current_call().when_revoked = lambda: run.end(FinishReason.REVOKED)

    return opened


def at_the_end(do: Callable[[], None]) -> Any:
    """Does this when a call is over; grpc's stubs type such callbacks as no function can be."""

    def end(_context: Context) -> None:
        do()

    return end
