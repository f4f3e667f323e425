"""Lets runs outlive their clients, and gives the rest of them to whoever comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import structlog
from prometheus_client import Counter
from ulid import ULID

from parley.inference.v1 import chat_pb2
from services.inference.replicas.mailbox import Mailbox
from services.inference.resumption.errors import ResumeFull, RunLost
from services.inference.resumption.journal import Journal, Source, TakenOver
from services.inference.resumption.kept_runs import KeptRun, Reader
from services.inference.resumption.remote_runs import RemoteReader
from services.inference.resumption.tape import Bounds, Room, Tape
from services.inference.runs.answering import Answering, ChatAnswer
from services.inference.runs.events import Finished, FinishReason
from services.inference.runs.order import ChatOrder
from services.inference.runs.registry import Owner, Run
from services.inference.takeovers.past import Past, read_past
from services.inference.takeovers.rules import can_go_on
from services.inference.translation import events as translate_events
from services.inference.translation import requests as translate
from services.rpc.call import current_call, current_principal, enter_call
from services.rpc.errors import DependencyUnavailable, Draining, Internal, ServiceError
from services.rpc.revocations import Revocations
from services.rpc.tasks import end_task

# A run is told to others as over only when its journal is whole, or the store had this time.
JOURNAL_SECONDS = 2.0
# Of the grace that calls have when the replica stops; what is left lets the last events out.
GRACE_SHARE = 0.9

RESUMES = Counter(
    "parley_inference_resumes_total", "Streams that were resumed, by where the run was.", ["where"]
)


class Resumption:
    """The runs of this replica that outlive their clients, and the way to those of others."""

    def __init__(
        self,
        answering: Answering,
        journal: Journal,
        mailbox: Mailbox,
        revocations: Revocations,
        stopping: asyncio.Event,
        bounds: Bounds | None = None,
    ) -> None:
        """Keep runs.

        Args:
            answering: Opens them.
            journal: Has their events for other replicas.
            mailbox: Reaches the runs of other replicas.
            revocations: End runs also when their callers are gone.
            stopping: Set when this replica stops.
            bounds: What is kept.
        """
        self._answering = answering
        self._journal = journal
        self._mailbox = mailbox
        self._revocations = revocations
        self._stopping = stopping
        self._bounds = bounds or Bounds()
        self._room = Room(self._bounds.total_bytes)
        self._kept: dict[str, KeptRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("parley.inference")

    async def hindrance(self) -> ServiceError | None:
        """Why another run cannot be kept; None where it can."""
        if not self._room.admits:
            return ResumeFull()
        if self._stopping.is_set():
            return Draining()
        return None if await self._journal.answers() else DependencyUnavailable("store")

    def begin(self, order: ChatOrder, request: bytes) -> KeptRun:
        """Begin a run for the current caller that outlives this call, and perhaps this replica.

        Args:
            order: What is asked for.
            request: The same as it came.
        """
        owner = Owner.of(current_principal())
        # One with large images can be resumed, and ends with its replica.
        request = request if len(request) <= self._bounds.run_bytes else b""
        kept = KeptRun(owner, order.resume_seconds, self._tape(request), request)
        self._spawn(self._live(kept, order))
        return kept

    def _tape(self, request: bytes) -> Tape:
        return Tape(self._room, self._bounds.run_bytes, beside=len(request))

    async def inherit(self, run_id: str, owner: Owner) -> Reader | None:
        """Go on with a run of the current caller whose replica is lost.

        Returns:
            What reads it here; None where it cannot go on.

        Raises:
            TakenOver: Another replica goes on with it, or did to its end.
            DependencyUnavailable: The store does not answer.
        """
        if (known := self._here(run_id, owner)) is not None:
            return known
        memory = await self._journal.recall(run_id)
        if memory is None or not self._room.admits or self._stopping.is_set():
            return None
        order = translate.chat_order(chat_pb2.ChatRequest.FromString(memory.request))
        past = read_past(run_id, memory.events, memory.turn, memory.token_ids)
        past.writer = memory.writer
        if past.is_finished:
            raise TakenOver(run_id)
        if not can_go_on(order, past) or not self._answering.has(past):
            return None
        heir = str(ULID())
        if not await self._journal.claim(run_id, memory.writer, heir):
            return None
        # A tape takes room from its beginning, so it begins only now.
        kept = KeptRun(owner, order.resume_seconds, self._tape(memory.request), memory.request)
        kept.writer = heir
        kept.trail.begin(memory.turn, past.turn.token_ids)
        for event in memory.events:
            kept.tape.add(event)
        kept.begin(())
        self._kept[run_id] = kept
        self._spawn(self._live(kept, order, past))
        RESUMES.labels("taken over").inc()
        return kept.reader()

    def reader(self, run_id: str) -> Reader | RemoteReader:
        """Reads a run of the current caller, wherever it is."""
        owner = Owner.of(current_principal())
        if (reader := self._here(run_id, owner)) is not None:
            RESUMES.labels("here").inc()
            return reader
        RESUMES.labels("elsewhere").inc()
        return RemoteReader(run_id, owner, self._journal, self._mailbox, self._stopping, self.inherit)

    def _here(self, run_id: str, owner: Owner) -> Reader | None:
        """Reads a run that this replica has."""
        kept = self._kept.get(run_id)
        return kept.reader() if kept is not None and kept.owner == owner else None

    async def _live(self, kept: KeptRun, order: ChatOrder, past: Past | None = None) -> None:
        """A run from its beginning to its end, within a call of its own that no client can end."""
        enter_call(replace(current_call(), deadline=None, when_revoked=None))

        def opened(run: Run) -> None:
            kept.opened(run)
            self._kept[run.run_id] = kept

        failure: Exception | None = None
        try:
            with self._revocations.watching(current_principal(), kept.revoke):
                async with self._answering.begin(order, opened, past, kept.writer) as answer:
                    await self._record(kept, answer, past)
        except ServiceError as error:
            failure = error
        except Exception as error:
            self._log.exception("run failed", request_id=current_call().request_id)
            failure = error
        finally:
            if past is not None and failure is not None:
                self._end_inherited(kept, past, failure)
                failure = None
            kept.over(failure)
            seconds = kept.seconds if failure is None else 0
            asyncio.get_running_loop().call_later(seconds, self._forget, kept)

    def _end_inherited(self, kept: KeptRun, past: Past, failure: Exception) -> None:
        """Tell those who read a run that was begun elsewhere why it does not go on here."""
        if kept.tape.last > past.last:
            return
        error = failure if isinstance(failure, ServiceError) else Internal(current_call().request_id)
        finished = Finished(FinishReason.ERROR, error.to_status())
        kept.tape.add(
            translate_events.chat_response(past.last + 1, past.run_id, finished).SerializeToString()
        )
        self._spawn(self._write(kept, past.run_id, past.last))

    async def _write(self, kept: KeptRun, run_id: str, inherited: int) -> None:
        """Copy what a run says to the journal, until another replica does."""
        source = Source(
            run_id, kept.owner, kept.writer, kept.request, kept.tape, kept.trail, kept.seconds, inherited
        )
        try:
            await self._journal.keep(source)
        except TakenOver:
            # This replica was taken for lost.
            kept.end(FinishReason.ERROR, RunLost(run_id))

    async def _record(self, kept: KeptRun, answer: ChatAnswer, past: Past | None) -> None:
        """Put what the run says on its tape, and see it into the journal."""
        tape = kept.tape
        writing = self._spawn(self._write(kept, answer.run_id, past.last if past is not None else 0))
        kept.writing = writing
        kept.begin(answer.headers)
        try:
            async with aclosing(answer.responses()) as responses:
                async for response in responses:
                    if response.event.HasField("started"):
                        window = translate_events.duration(kept.seconds)
                        response.event.started.resume_window.CopyFrom(window)
                    tape.add(response.SerializeToString())
        finally:
            tape.end()
        await asyncio.wait({writing}, timeout=JOURNAL_SECONDS)

    def _forget(self, kept: KeptRun) -> None:
        """A run's window is over, too."""
        kept.forget()
        if kept.run is not None:
            self._kept.pop(kept.run.run_id, None)

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        """Let runs go on until the block's end, or until the replica stops and their grace is over."""
        self._draining = asyncio.create_task(self._drain())
        try:
            yield
        finally:
            if self._stopping.is_set():
                await self._draining
            else:
                await end_task(self._draining)
                await self._finish(0)

    async def drained(self) -> None:
        """Return when the replica was told to stop and its runs are over."""
        if self._draining is not None:
            await asyncio.shield(self._draining)

    async def _drain(self) -> None:
        await self._stopping.wait()
        await self._finish(self._bounds.grace_seconds * GRACE_SHARE)

    async def _finish(self, seconds: float) -> None:
        """Wait for the runs for so long, then end them, and see their journals written."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for kept in tuple(self._kept.values()):
            kept.end(FinishReason.ERROR, Draining())
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=JOURNAL_SECONDS)
        for task in tuple(self._tasks):
            await end_task(task)
        for kept in tuple(self._kept.values()):
            self._forget(kept)

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def without_window(response: chat_pb2.ChatResponse, hindrance: ServiceError) -> None:
    """Say in a run's first event why a cut cancels it, although it was to outlive one."""
    if response.event.HasField("started"):
        response.event.started.resume_error.CopyFrom(hindrance.to_status())
