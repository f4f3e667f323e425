"""Answers a chat as a run: what `Chat` and every turn of `Converse` share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from ulid import ULID

from parley.inference.v1 import chat_pb2
from services.inference.adapters.adapted_engine import in_use
from services.inference.calling.run_tokens import RunTokens
from services.inference.calling.tool_calls import Toolbox, ToolSelection
from services.inference.conversations.continuing import Continuation, Continuing
from services.inference.engine.port import Engine
from services.inference.engine.turn import Message
from services.inference.messages import check_order
from services.inference.metrics import observed
from services.inference.models import Models
from services.inference.rollouts.room import Rollouts
from services.inference.rollouts.trial import Trial
from services.inference.runs.agent_loop import AgentLoop
from services.inference.runs.coalescing import Coalescing
from services.inference.runs.events import Finished, FinishReason
from services.inference.runs.order import ChatOrder
from services.inference.runs.registry import Limit, Owner, Run, RunEnded, RunRegistry
from services.inference.runs.slow_readers import PATIENCE_SECONDS, read_in_time
from services.inference.runs.spending import RunPurse
from services.inference.seating.seats import Door
from services.inference.takeovers.past import Past
from services.inference.takeovers.rules import refuse_another
from services.inference.takeovers.turns import TakenTurns
from services.inference.translation import events as translate_events
from services.inference.turn_cache.cache import TurnCache
from services.inference.turn_cache.source import SharedTurns
from services.ledger.admission import Admission
from services.ledger.limits import Payer
from services.rpc.call import current_call, current_principal
from services.rpc.errors import Cancelled, DeadlineExceeded, ServiceError, TokenRevoked

# Time before the deadline in which the last events still reach the client: a
# share of what the call has, within bounds.
DEADLINE_SHARE = 0.1
DEADLINE_MARGIN_SECONDS = (0.02, 0.5)


class ChatAnswer:
    """The answer to one chat, by a run that is prepared."""

    def __init__(
        self,
        run: Run,
        engine: Engine,
        loop: AgentLoop,
        purse: RunPurse,
        continuation: Continuation,
        coalescing: Coalescing,
        reader_seconds: float,
        trial: Trial | None,
    ) -> None:
        """Answer; `Answering.begin` does this."""
        self._trial = trial
        self._reader_seconds = reader_seconds
        self._run = run
        self._coalescing = coalescing
        self._engine = engine
        self._loop = loop
        self._purse = purse
        self._continuation = continuation

    @property
    def run_id(self) -> str:
        """The run."""
        return self._run.run_id

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What is left of the caller's limits, as callers over HTTP read it."""
        return self._purse.headers()

    @property
    def said(self) -> tuple[Message, ...]:
        """What the run added to its conversation so far."""
        return self._loop.said

    def told(self, cut: Callable[[], None]) -> AsyncGenerator[chat_pb2.ChatResponse, None]:
        """The same as `responses`, for a client that may be slow to read; see `read_in_time`."""
        return read_in_time(self.responses(), self._reader_seconds, self.give_up, cut)

    def give_up(self) -> None:
        """End the run: its client does not read."""
        self._run.end(FinishReason.SLOW_READER)

    async def responses(self) -> AsyncGenerator[chat_pb2.ChatResponse, None]:
        """The run's events, numbered. Failures are in the last one."""
        said = observed(self._engine.card.name, self._loop.events())
        if self._trial is not None:
            said = self._trial.observed(self._run, said)
        most_seconds = self._continuation.order.event_delay_seconds
        async with aclosing(self._coalescing.gathered(said, most_seconds)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    event = await self._kept(event)
                yield translate_events.chat_response(self._run.next_sequence(), self._run.run_id, event)

    async def _kept(self, finished: Finished) -> Finished:
        """The end of a run whose conversation has what was said.

        The client's answers to calls are still to come, in a request that asks the same again.
        """
        said = () if finished.reason is FinishReason.TOOL_CALLS else self._loop.said
        error = await self._continuation.keep(self._run.run_id, self._engine.card.name, said)
        return replace(finished, conversation_error=error)

    async def keep(self) -> None:
        """Keep what was said to a client that left before the end."""
        await self._continuation.keep(self._run.run_id, self._engine.card.name, self._loop.said)


class Answering:
    """Opens runs: with their limits, their quota, their tools and the token for those.

    Attributes:
        reader_seconds: How long a client may take over a message.
    """

    def __init__(
        self,
        models: Models,
        runs: RunRegistry,
        toolbox: Toolbox,
        admission: Admission,
        run_tokens: RunTokens,
        continuing: Continuing,
        door: Door,
        cache: TurnCache | None = None,
        coalescing: Coalescing | None = None,
        reader_seconds: float = PATIENCE_SECONDS,
        rollouts: Rollouts | None = None,
    ) -> None:
        """Answer with these models and tools, for those who are admitted.

        Args:
            models: The models.
            runs: The runs of this replica.
            toolbox: The platform's tools.
            admission: Who may run what, as far as quotas go.
            run_tokens: Covers a run that outlives its caller's token.
            continuing: The conversations that chats go on with.
            door: Refuses what would wait for the engine in vain.
            cache: What was said before, and is being said; None where each run is answered by itself.
            coalescing: Gathers what is said under load.
            reader_seconds: How long a client may take over a message.
            rollouts: What else than models can be asked for.
        """
        self._rollouts = rollouts or Rollouts.none(models)
        self._models = models
        self._runs = runs
        self._toolbox = toolbox
        self._admission = admission
        self._run_tokens = run_tokens
        self._continuing = continuing
        self._door = door
        self._cache = cache
        self._coalescing = coalescing or Coalescing()
        self.reader_seconds = reader_seconds

    def engine(self, model: str) -> Engine:
        """The engine of a model or an alias, for the current caller.

        Raises:
            ServiceError: See `Models.engine` and `Aliases.assigned`.
        """
        caller = current_principal()
        return self._models.engine(self._rollouts.model(model, caller), caller)

    def has(self, past: Past) -> bool:
        """Whether the model of a run is here."""
        return past.started is None or self._models.running(past.started.model) is not None

    @asynccontextmanager
    async def begin(
        self, order: ChatOrder, opened: Callable[[Run], None], past: Past | None = None, writer: str = ""
    ) -> AsyncIterator[ChatAnswer]:
        """Open a run for the current caller; at the block's end it is over, and what it used is settled.

        Args:
            order: What is asked for.
            opened: Told of the run before anything can wait, so that it can be ended.
            past: What a run was that goes on here; None for a new one.
            writer: Who writes its journal; empty where it has none.

        Raises:
            ServiceError: It cannot begin.
        """
        trial = self._rollouts.trial(order.model, current_principal())
        engine = self._models.engine(trial.model if trial else order.model, current_principal())
        if past is not None:
            refuse_another(past, engine.card, trial.variant if trial else "")
        limit = _limit(order, past)
        self._door.refuse_hopeless(limit.at)
        # That of a run before, on the same stream, may be over.
        current_call().onward_token = ""
        async with self._continuing.continuation(order, writer, past) as continuation:
            if order.raw is None:
                check_order(continuation.order.messages)
            name, last = (past.run_id, past.last) if past is not None else ("", 0)
            owner = Owner.of(current_principal())
            with in_use(engine), self._runs.open(owner, limit, name, last) as run:
                opened(run)
                async with self._answer(run, engine, continuation, trial, past) as answer:
                    yield answer

    @asynccontextmanager
    async def _answer(
        self,
        run: Run,
        engine: Engine,
        continuation: Continuation,
        trial: Trial | None,
        past: Past | None,
    ) -> AsyncIterator[ChatAnswer]:
        """The answer of a run that was opened."""
        order, nested = continuation.order, current_principal().actor != ""
        if trial is not None:
            order = trial.applied(order)
        lease_id, before = (run.run_id, None) if past is None else (str(ULID()), past.spent)
        purse = RunPurse(self._admission, lease_id, _payer(engine), nested=nested, before=before)
        turns = SharedTurns(engine, self._cache, run.owner.tenant_id, order.cache)
        source = turns if past is None else TakenTurns(turns, past)
        loop = AgentLoop(run, order, source, self._toolbox, purse, past)
        telling = self._coalescing, self.reader_seconds
        answer = ChatAnswer(run, engine, loop, purse, continuation, *telling, trial)
        try:
            await _prepare(loop, trial)
            if order.tools != ToolSelection():
                await self._run_tokens.cover(run.limit.at)
            yield answer
            if trial is not None:
                self._rollouts.shadows.cast(trial, run, continuation.order, self._toolbox)
        finally:
            await turns.leave()
            await purse.close(loop.used, loop.calls)
            await answer.keep()


def last_moment() -> float | None:
    """When the last events must leave to reach the client of the current call before its deadline.

    On the event loop's clock; None where the client waits for ever.
    """
    deadline = current_call().deadline
    if deadline is None:
        return None
    least, most = DEADLINE_MARGIN_SECONDS
    left = deadline - asyncio.get_running_loop().time()
    return deadline - min(max(left * DEADLINE_SHARE, least), most)


async def _prepare(loop: AgentLoop, trial: Trial | None) -> None:
    """Do what may still fail as a call.

    Raises:
        ServiceError: It failed.
    """
    try:
        await loop.prepare()
    except RunEnded as ended:
        raise _ended_too_soon(ended) from None
    except ServiceError as error:
        if trial is not None:
            trial.refused(error)
        raise


def _payer(engine: Engine) -> Payer:
    """Who pays for what the current caller asks of this engine."""
    principal = current_principal()
    return Payer(principal.tenant_id, principal.user_id, principal.key_id, engine.card.name)


def _limit(order: ChatOrder, past: Past | None) -> Limit:
    """Which comes first: the end of the run's time, or the call's deadline."""
    now = asyncio.get_running_loop().time()
    gone = 0.0 if past is None else past.seconds_since_its_beginning()
    time_limit = Limit(now + order.limits.max_seconds - gone, FinishReason.TIME_LIMIT)
    last = last_moment()
    if last is None:
        return time_limit
    return min(time_limit, Limit(last, FinishReason.DEADLINE), key=lambda limit: limit.at)


def _ended_too_soon(ended: RunEnded) -> ServiceError:
    """The error of a run that ended before its first event."""
    if ended.error is not None:
        return ended.error
    if ended.reason is FinishReason.CANCELLED:
        return Cancelled("The call was cancelled before its run began.")
    if ended.reason is FinishReason.REVOKED:
        return TokenRevoked()
    return DeadlineExceeded("There was no time to begin the run; allow more.")
