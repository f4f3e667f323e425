"""A chat's stream that is read on after it was cut."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc

from parley.inference.v1 import chat_pb2
from parley_client.errors import ParleyError
from parley_client.stream import Detour, EventStream, nowhere

MOST_TRIES = 20
PAUSE_SECONDS = (0.1, 2.0)
CANCEL_SECONDS = 2.0

CUTS = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
    }
)
"""What a call ends with when something on its way goes; with a reason of the platform's, only UNAVAILABLE."""

GIVEN_UP = frozenset({"READER_TOO_SLOW"})
"""Reasons that end a reader and not what it reads."""

OpenCall = Callable[[], Awaitable[grpc.aio.UnaryStreamCall[Any, Any]]]
Resume = Callable[[str, int], Awaitable[grpc.aio.UnaryStreamCall[Any, Any]]]


class ResumingStream(EventStream[chat_pb2.ChatEvent]):
    """Events as they come, each once, whatever is cut between; for runs that have a `resume_window`.

    Close it (or leave its `async with`) to cancel the run.

    Args:
        open_call: Starts the chat; called at the first use.
        resume: Gives the rest of a run after an event.
        cancel: Ends a run.
        detour: As `EventStream` takes it.
    """

    def __init__(
        self,
        open_call: OpenCall,
        resume: Resume,
        cancel: Callable[[str], Awaitable[None]],
        detour: Detour = nowhere,
    ) -> None:
        super().__init__(open_call, lambda response: response.event, detour)
        self._resume = resume
        self._cancel = cancel
        self._run_id = ""
        self._window = 0.0
        self._last = 0
        self._finished = False
        self._tries = 0
        self._give_up_at = 0.0

    async def __anext__(self) -> chat_pb2.ChatEvent:
        """The next event.

        Raises:
            ParleyError: The call failed, or was cut and cannot be resumed.
            StopAsyncIteration: The stream is over, or was closed.
        """
        while True:
            try:
                event = await super().__anext__()
            except StopAsyncIteration:
                if self._closed or self._finished or not self._window:
                    raise
                await self._mend(ParleyError(grpc.StatusCode.UNAVAILABLE, "the answer broke off"))
            except ParleyError as trouble:
                await self._mend(trouble)
            else:
                self._note(event)
                return event

    def _note(self, event: chat_pb2.ChatEvent) -> None:
        if event.HasField("started"):
            self._run_id = event.started.run_id
            self._window = event.started.resume_window.ToTimedelta().total_seconds()
        self._last = event.sequence
        self._finished = event.HasField("finished")
        self._tries = 0

    async def _mend(self, trouble: ParleyError) -> None:
        """Have the next use ask for the rest, after a pause that grows from try to try.

        Raises:
            ParleyError: The trouble, where it is no cut, or the run is over by now.
        """
        now = asyncio.get_running_loop().time()
        if self._tries == 0:
            self._give_up_at = now + self._window
        if not _is_cut(trouble) or self._tries >= MOST_TRIES or now >= self._give_up_at:
            raise trouble
        least, most = PAUSE_SECONDS
        await asyncio.sleep(min(most, least * 2**self._tries))
        self._tries += 1
        self._call, self._open_call = None, self._rest

    async def _rest(self) -> grpc.aio.UnaryStreamCall[Any, Any]:
        return await self._resume(self._run_id, self._last)

    async def aclose(self) -> None:
        """Cancels the run if it still runs. Closing twice changes nothing."""
        running = self._window > 0 and not self._finished and not self._closed
        await super().aclose()
        if running:
            # To close a call is to cut it, which such a run outlives.
            with suppress(ParleyError, TimeoutError):
                async with asyncio.timeout(CANCEL_SECONDS):
                    await self._cancel(self._run_id)


def _is_cut(trouble: ParleyError) -> bool:
    if trouble.reason:
        return trouble.code is grpc.StatusCode.UNAVAILABLE or trouble.reason in GIVEN_UP
    return trouble.code in CUTS
