"""The loop of a run: the model speaks, tools answer, until there is an answer or a limit."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace

import structlog

from services.inference.calling.corrections import Corrections
from services.inference.calling.tool_calls import Offer, Toolbox
from services.inference.calling.tool_round import ToolRound
from services.inference.engine.port import Prompt
from services.inference.engine.turn import Message, ToolSpec
from services.inference.errors import ContextOverflow, EngineFailed
from services.inference.reading.step import StopReason, TurnEnd
from services.inference.resumption.errors import RunLost
from services.inference.runs.events import CallResult, Finished, FinishReason, RunEvent, RunUsage, Started
from services.inference.runs.meter import Meter
from services.inference.runs.order import ChatOrder
from services.inference.runs.registry import Run, RunEnded
from services.inference.runs.spending import Purse
from services.inference.runs.transcript import RunTranscript, TurnRecord
from services.inference.runs.turn_rules import (
    check_options,
    choice_ends,
    first_call_only,
    max_output_tokens,
    next_turn,
)
from services.inference.runs.turn_source import CacheState, TurnSource
from services.inference.takeovers.past import Past, PastTurn
from services.rpc.call import current_call
from services.rpc.errors import Internal, ServiceError


class AgentLoop:
    """One run's loop. `prepare` does what may still fail as a call; `events` never raises."""

    def __init__(
        self,
        run: Run,
        order: ChatOrder,
        engine: TurnSource,
        toolbox: Toolbox,
        purse: Purse,
        past: Past | None = None,
    ) -> None:
        """Answer this order with this engine and these tools, as far as the purse reaches.

        With a past, the run goes on where that ends.
        """
        self._run = run
        self._order = order
        self._engine = engine
        self._toolbox = toolbox
        self._purse = purse
        self._offer = Offer()
        self._past = past
        self._cut: PastTurn | None = None
        self._transcript = RunTranscript(order.messages)
        self._corrections = Corrections(order.limits.max_tool_corrections)
        self._record = TurnRecord()
        self._prompt = Prompt(0)
        self._meter = Meter()
        self._rounds = 0
        self._calls = 0
        self._left_to_client = False
        self._log = structlog.get_logger("parley.inference")

    async def prepare(self) -> None:
        """Find the tools and render the first prompt.

        Raises:
            ServiceError: The chat cannot start: a tool is unknown, the messages
                cannot be rendered, the prompt does not fit, a limit is in the way.
            RunEnded: The run's time was over before it began.
            RunLost: The run began with another prompt.
        """
        self._run.check()
        self._offer = await self._run.wait(self._toolbox.offer(self._order.tools))
        check_options(self._order, self._engine.card, self._offer)
        await self._render()
        sampling = self._order.sampling
        asked = sampling.max_output_tokens or sampling.min_output_tokens
        if self._prompt.tokens + asked > self._engine.card.context_length:
            raise ContextOverflow(self._prompt.tokens, asked, self._engine.card.context_length)
        if self._past is not None:
            await self._go_on(self._past)
        await self._run.wait(self._purse.open(self._prompt.tokens))

    async def _go_on(self, past: Past) -> None:
        """Be where a run was cut.

        Raises:
            RunLost: It began with another prompt: its messages or its model are others by now.
            ToolArgumentsRejected: Its model did not learn what a tool takes.
        """
        if past.started is not None and past.started.prompt_tokens != self._prompt.tokens:
            raise RunLost(past.run_id)
        self._transcript, self._cut = past.transcript(self._order.messages), past.turn
        self._meter = Meter(past.usage)
        self._rounds, self._calls = len(past.rounds), past.calls
        for turn in past.rounds:
            self._corrections.note(tuple(turn.results.values()))
        if past.rounds:
            await self._render()

    @property
    def said(self) -> tuple[Message, ...]:
        """What the run added to its conversation so far."""
        return self._transcript.said

    @property
    def used(self) -> RunUsage:
        """Tokens used so far."""
        return self._meter.total

    @property
    def calls(self) -> int:
        """Tool calls made so far."""
        return self._calls

    async def events(self) -> AsyncGenerator[RunEvent, None]:
        """What happens, from `Started` to `Finished`. Failures are in the last event."""
        finished = Finished(FinishReason.STOP)
        try:
            if self._past is None or self._past.started is None:
                yield await self._started()
            async with aclosing(self._turns()) as events:
                async for event in events:
                    if isinstance(event, Finished):
                        finished = event
                    else:
                        yield event
        except RunEnded as ended:
            finished = Finished(ended.reason, ended.error.to_status() if ended.error is not None else None)
        except ServiceError as error:
            finished = Finished(FinishReason.ERROR, error.to_status())
        except Exception:
            finished = self._internal_fault()
        yield self._meter.total
        yield replace(finished, choices=choice_ends(self._record, finished.reason))

    async def _started(self) -> Started:
        """The first event; a run that is over by now is told so by the next."""
        cache = CacheState.UNUSED
        with suppress(RunEnded):
            cache = await self._run.wait(self._engine.foresee(self._prompt, self._max_output_tokens()))
        tools = tuple(sorted(tool.name for tool in self._tools))
        return Started(self._engine.card.name, self._prompt.tokens, tools, self._offer.error, cache)

    async def _turns(self) -> AsyncGenerator[RunEvent, None]:
        """Turn after turn, up to and including `Finished`."""
        while True:
            record = self._record = self._begin_turn()
            reason = None
            if record.end is None:
                async with aclosing(self._generate(record)) as events:
                    async for event in events:
                        yield event
                reason = self._reason_to_end(record.end)
                if reason is None:
                    yield self._meter.total
            if reason is None:
                async with aclosing(self._call_tools(record)) as updates:
                    async for update in updates:
                        yield update
                reason = await self._reason_not_to_go_on()
            if reason is not None:
                yield Finished(reason)
                return
            await self._pay_for_turn()

    def _begin_turn(self) -> TurnRecord:
        """Another turn; of a run that was taken over, first the one in which it was cut."""
        if self._cut is not None and (self._cut.is_over or self._cut.deltas):
            return self._transcript.resume_turn(self._cut.record())
        return self._transcript.begin_turn(self._order.sampling.choice_count)

    async def _generate(self, record: TurnRecord) -> AsyncGenerator[RunEvent, None]:
        """One turn of the model."""
        steps = self._engine.generate(
            self._prompt,
            max_output_tokens=self._max_output_tokens(),
            request_id=f"{self._run.run_id}-{self._meter.total.turns}",
            ceiling=self._purse.ceiling(self._meter.total.completion_tokens),
        )
        self._meter.begin(self._prompt.tokens)
        self._cut = None
        turn = self._meter.total.turns - 1
        async with self._run.reading(steps) as reader:
            async for step in reader:
                self._meter.note(step.usage)
                if self._run.trail is not None and step.end is None:
                    self._run.trail.note(turn, step)
                if not self._order.parallel_calls:
                    step = first_call_only(step)
                record.note(step)
                for delta in step.deltas:
                    yield delta
                if step.end is None:
                    await self._stay_covered()
        if record.end is None:
            raise EngineFailed(self._engine.card.name)

    async def _stay_covered(self) -> None:
        """Read on only while the next token is paid for.

        Raises:
            RunEnded: A budget has nothing left.
            QuotaUnavailable: Whether it has cannot be found out.
        """
        used = self._meter.total.completion_tokens
        if not self._purse.covers(used) and not await self._run.wait(self._purse.wait_for_more(used)):
            raise RunEnded(FinishReason.BUDGET)

    async def _pay_for_turn(self) -> None:
        """Begin another turn only if its prompt and a token of answer are paid for.

        Raises:
            RunEnded: A budget does not have them.
            QuotaUnavailable: Whether it has cannot be found out.
        """
        used = self._meter.total
        prompts = used.prompt_tokens + self._prompt.tokens
        if not await self._run.wait(self._purse.begin_turn(prompts, used.completion_tokens)):
            raise RunEnded(FinishReason.BUDGET)

    def _reason_to_end(self, end: TurnEnd | None) -> FinishReason | None:
        """Why the run is over after this turn; None where its calls are to be run."""
        if end is None or end.reason is StopReason.LENGTH:
            return FinishReason.TOKEN_LIMIT if self._out_of_tokens else FinishReason.LENGTH
        if not end.calls:
            return FinishReason.STOP
        if self._out_of_tokens:
            return FinishReason.TOKEN_LIMIT
        if self._rounds >= self._order.limits.max_tool_rounds:
            return FinishReason.ROUND_LIMIT
        if self._calls + len(end.calls) > self._order.limits.max_tool_calls:
            return FinishReason.CALL_LIMIT
        return None

    async def _call_tools(self, record: TurnRecord) -> AsyncGenerator[RunEvent, None]:
        """Run the turn's calls and remember how they ended.

        Raises:
            ToolArgumentsRejected: The model does not learn what a tool takes.
        """
        self._rounds += 1
        self._calls += len(record.calls)
        cut, self._cut = self._cut, None
        results: list[CallResult] = list(cut.results.values()) if cut is not None else []
        bytes_given = self._order.limits.result_bytes(self._engine.card.context_length)
        tool_round = ToolRound(
            self._order, self._offer.tools, self._toolbox, self._run.waiting_calls, bytes_given, cut
        )
        async with self._run.reading(tool_round.events(record.calls, self._rounds)) as events:
            async for event in events:
                if isinstance(event, CallResult):
                    record.results[event.call.id] = event.content
                    results.append(event)
                yield event
        self._left_to_client = bool(tool_round.left)
        self._transcript.end_turn()
        self._corrections.note(results)

    async def _reason_not_to_go_on(self) -> FinishReason | None:
        """Why the run is over after its tools; None where the next turn is rendered."""
        if self._left_to_client:
            return FinishReason.TOOL_CALLS
        return None if await self._render_again() else FinishReason.LENGTH

    async def _render(self) -> None:
        """Render the conversation as it is now.

        Raises:
            ContextOverflow: It leaves no room for a single token of answer.
        """
        self._run.check()
        first = self._meter.total.turns == 0
        turn = next_turn(self._order, self._transcript.messages, self._tools, first=first)
        self._prompt = await self._run.wait(self._engine.render(turn))
        if self._room < 1:
            asked = self._order.sampling.max_output_tokens or 1
            raise ContextOverflow(self._prompt.tokens, asked, self._engine.card.context_length)

    async def _render_again(self) -> bool:
        """Render the next turn.

        Returns:
            False where the context is full: the run ends as a turn that fills it does.
        """
        try:
            await self._render()
        except ContextOverflow:
            return False
        return True

    @property
    def _tools(self) -> tuple[ToolSpec, ...]:
        """What the model is told of, the platform's first."""
        return (*(tool.spec for tool in self._offer.tools), *self._order.client_tools.tools)

    @property
    def _tokens_left(self) -> int | None:
        """Tokens that the run may still generate; None where it sets no limit."""
        limit = self._order.limits.max_output_tokens
        return None if limit is None else max(0, limit - self._meter.total.completion_tokens)

    @property
    def _out_of_tokens(self) -> bool:
        """Whether the run has no token left for each choice of another turn."""
        left = self._tokens_left
        return left is not None and left < self._order.sampling.choice_count

    @property
    def _room(self) -> int:
        """Tokens that the context has left for the answer."""
        return self._engine.card.context_length - self._prompt.tokens

    def _max_output_tokens(self) -> int:
        left = self._tokens_left
        sampling = self._order.sampling
        room = self._room if left is None else min(self._room, left // sampling.choice_count)
        return max_output_tokens(sampling, self._engine.card, room)

    def _internal_fault(self) -> Finished:
        """A fault of ours: logged in full, masked for the client."""
        request_id = current_call().request_id
        self._log.exception("run failed", run_id=self._run.run_id, request_id=request_id)
        return Finished(FinishReason.ERROR, Internal(request_id).to_status())
