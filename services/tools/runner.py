"""Runs one call: checks it, waits for its turn, runs the tool within its limits."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace

from services.rpc.errors import DeadlineExceeded, ServiceError
from services.rpc.principal import Principal
from services.tools.arguments import parse_arguments
from services.tools.call_span import call_span
from services.tools.call_statistics import CallClock, CallStatistics
from services.tools.catalogue import Arguments, Catalogue, LoopCall, Tool, ToolResult
from services.tools.errors import OutputTooLarge, ToolTimeout
from services.tools.events import Emit, Output, Report, Reporter, Result, Started
from services.tools.replays import Asked, Replays
from services.tools.turns import Turns
from services.tools.workers import Worker, WorkerPool, crashed
from services.tools.workspace import Owner


@dataclass(frozen=True)
class Invocation:
    """A call, as its caller asks for it.

    Attributes:
        call_id: Names it within its stream.
        tool: The tool's name.
        arguments: JSON text.
        timeout_seconds: Time that it may take, if less than the tool's own.
        after: Calls of the same stream that must go well before.
        idempotency_key: Names what it is for, so that asking twice does it
            once; empty: it always runs.
        conversation_id: The conversation whose workspace the tool finds; empty: the user's own.
    """

    call_id: str
    tool: str
    arguments: str
    timeout_seconds: float | None = None
    after: tuple[str, ...] = ()
    idempotency_key: str = ""
    conversation_id: str = ""

    def owner(self, principal: Principal) -> Owner:
        """Whose workspace the tool finds when this caller calls it."""
        return Owner(principal.tenant_id, principal.user_id, self.conversation_id)


class Runner:
    """Runs calls of the catalogue's tools."""

    def __init__(
        self,
        catalogue: Catalogue,
        workers: WorkerPool,
        turns: Turns,
        *,
        max_argument_bytes: int,
        replays: Replays | None = None,
        turns_apart: Turns | None = None,
    ) -> None:
        """Run tools of this catalogue, those that block in these workers, in these turns.

        Args:
            catalogue: The tools.
            workers: Where those that block run.
            turns: Hands out turns.
            max_argument_bytes: Arguments of one call, at most.
            replays: Remembers results of calls with an idempotency key.
            turns_apart: Hands out turns to tools that wait apart; default: `turns`.
        """
        self._catalogue = catalogue
        self._workers = workers
        self._turns = turns
        self._turns_apart = turns_apart or turns
        self._max_argument_bytes = max_argument_bytes
        self._replays = replays or Replays()
        self.statistics = CallStatistics()

    async def run(
        self, invocation: Invocation, principal: Principal, deadline: float | None, emit: Emit
    ) -> Result:
        """Run a call and emit what happens on the way.

        Args:
            invocation: The call.
            principal: For whom.
            deadline: When nobody waits for it any more, on the event loop's clock.
            emit: Takes the events.

        Returns:
            The call's last event.

        Raises:
            ServiceError: The call ends badly.
        """
        tool = self._catalogue.find_callable(invocation.tool, principal)

        async def run(emit: Emit) -> Result:
            with (
                self.statistics.counting(tool.name, principal) as clock,
                call_span(tool.name, invocation.call_id),
            ):
                async with _until(deadline):
                    return await self._run(tool, invocation, principal, emit, clock)

        if not invocation.idempotency_key:
            return await run(emit)
        async with _until(deadline):  # which also holds for waiting until another call with the key is over
            return await self._replays.once(_asked(tool, invocation, principal), emit, run)

    async def _run(
        self, tool: Tool, invocation: Invocation, principal: Principal, emit: Emit, clock: CallClock
    ) -> Result:
        arguments = parse_arguments(tool, invocation.arguments, self._max_argument_bytes)
        turns = self._turns_apart if tool.waits_apart else self._turns
        async with turns.turn((principal.tenant_id, principal.user_id)), self._place(tool) as worker:
            started = time.monotonic()
            await emit(Started(tool.name, clock.start()))
            seconds = min(tool.timeout_seconds, invocation.timeout_seconds or tool.timeout_seconds)
            try:
                async with asyncio.timeout(seconds):
                    call = self._call(tool, invocation, principal, _metered(tool, emit))
                    content = await self._work(tool, arguments, call, worker)
            except TimeoutError:
                raise ToolTimeout(tool.name, seconds) from None
        if len(content.encode()) > tool.max_output_bytes:
            raise OutputTooLarge(tool.name, tool.max_output_bytes)
        return Result(content, time.monotonic() - started)

    def _place(self, tool: Tool) -> AbstractAsyncContextManager[Worker | None]:
        """A worker for a tool that needs one."""
        return self._workers.lend() if tool.in_worker else nullcontext()

    async def _work(self, tool: Tool, arguments: Arguments, call: LoopCall, worker: Worker | None) -> str:
        """Let the tool work; the result's JSON text. Raises TimeoutError for nobody but the tool's limit."""
        if worker is not None:
            return await worker.run(tool, self._workers.call(tool, arguments, call.owner), call.report)
        try:
            result = await tool.run(arguments, call)
            return tool.result.model_validate(result).to_json()
        except ServiceError:
            raise
        except Exception:
            raise crashed(tool, traceback.format_exc()) from None

    def _call(self, tool: Tool, invocation: Invocation, principal: Principal, report: Reporter) -> LoopCall:
        """What the tool may use; parts of its work run in workers under its name."""
        owner = invocation.owner(principal)

        async def compute(part: Tool, arguments: Arguments) -> ToolResult:
            part = replace(part, name=tool.name)
            call = self._workers.call(part, arguments, owner)
            async with self._workers.lend() as worker:
                return part.result.model_validate_json(await worker.run(part, call, report))

        return LoopCall(principal, report, compute, owner.conversation_id)


def _asked(tool: Tool, invocation: Invocation, principal: Principal) -> Asked:
    return Asked(
        # A key may permit less than its user: what one saw is not another's to replay.
        caller=(principal.tenant_id, principal.user_id, principal.key_id),
        key=invocation.idempotency_key,
        tool=tool.name,
        arguments=invocation.arguments,
        conversation_id=invocation.conversation_id,
        repeatable=tool.idempotent,
    )


def _metered(tool: Tool, emit: Emit) -> Reporter:
    """Passes on what the tool says, until its output is larger than it may be."""
    left = tool.max_output_bytes

    async def report(what: Report) -> None:
        nonlocal left
        if isinstance(what, Output):
            left -= len(what.text.encode())
            if left < 0:
                raise OutputTooLarge(tool.name, tool.max_output_bytes)
        await emit(what)

    return report


@asynccontextmanager
async def _until(deadline: float | None) -> AsyncIterator[None]:
    """End what happens within at the deadline."""
    try:
        async with asyncio.timeout_at(deadline):
            yield
    except TimeoutError:
        raise DeadlineExceeded("The call's deadline passed while the tool waited or ran.") from None
