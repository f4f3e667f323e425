"""The inference service's methods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc

from parley.inference.v1 import chat_pb2, inference_service_pb2
from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceServicer
from services.inference import translate
from services.inference.agent_loop import AgentLoop
from services.inference.engine import Engine
from services.inference.errors import CallNotWaiting, RunNotFound
from services.inference.events import FinishReason
from services.inference.mailbox import Mailbox
from services.inference.messages import check_order
from services.inference.metrics import observed
from services.inference.models import Models
from services.inference.order import ChatOrder
from services.inference.run_tokens import RunTokens
from services.inference.runs import Limit, Owner, Run, RunEnded, RunRegistry
from services.inference.spending import RunPurse
from services.inference.tool_calls import Toolbox, ToolSelection
from services.inference.waiting_calls import Answer, Outcome
from services.ledger.admission import Admission
from services.ledger.limits import Payer
from services.rpc.call import current_call, current_principal
from services.rpc.errors import Cancelled, DeadlineExceeded, PermissionMissing, ServiceError, TokenRevoked
from services.rpc.pages import PageTokens, page_size

# Time before the deadline in which the last events still reach the client: a
# share of what the call has, within bounds.
DEADLINE_SHARE = 0.1
DEADLINE_MARGIN_SECONDS = (0.02, 0.5)

Context = grpc.aio.ServicerContext[Any, Any]


class InferenceServicer(InferenceServiceServicer):
    """Answers chats, ends runs, lists models."""

    def __init__(
        self,
        models: Models,
        runs: RunRegistry,
        toolbox: Toolbox,
        mailbox: Mailbox,
        page_tokens: PageTokens,
        admission: Admission,
        run_tokens: RunTokens,
    ) -> None:
        """Serve these models; `mailbox` finds runs that other replicas have."""
        self._run_tokens = run_tokens
        self._admission = admission
        self._models = models
        self._runs = runs
        self._toolbox = toolbox
        self._mailbox = mailbox
        self._page_tokens = page_tokens

    async def Chat(
        self, request: chat_pb2.ChatRequest, context: Context
    ) -> AsyncGenerator[chat_pb2.ChatResponse, None]:
        """See `InferenceService.Chat`."""
        order = translate.chat_order(request)
        engine = self._models.engine(order.model, current_principal())
        check_order(order.messages)
        with self._runs.open(Owner.of(current_principal()), _limit(order)) as run:
            # A client that vanishes while it is being written to leaves no other trace.
            context.add_done_callback(_ending(run))
            current_call().when_revoked = lambda: run.end(FinishReason.REVOKED)
            nested = current_principal().actor != ""
            purse = RunPurse(self._admission, run.run_id, _payer(engine), nested=nested)
            loop = AgentLoop(run, order, engine, self._toolbox, purse)
            try:
                await _prepare(loop)
                if order.tools != ToolSelection():
                    await self._run_tokens.cover(run.limit.at)
                if headers := purse.headers():
                    await context.send_initial_metadata(headers)
                async with aclosing(self._answer(run, engine, loop)) as responses:
                    async for response in responses:
                        yield response
            finally:
                await purse.close(loop.used, loop.calls)

    async def _answer(
        self, run: Run, engine: Engine, loop: AgentLoop
    ) -> AsyncGenerator[chat_pb2.ChatResponse, None]:
        """The run's events, numbered."""
        async with aclosing(observed(engine.card.name, loop.events())) as events:
            async for event in events:
                yield translate.chat_response(run.next_sequence(), run.run_id, event)

    async def Cancel(
        self, request: inference_service_pb2.CancelRequest, context: Context
    ) -> inference_service_pb2.CancelResponse:
        """See `InferenceService.Cancel`."""
        del context
        owner = Owner.of(current_principal())
        ended = self._runs.end(request.run_id, owner, FinishReason.CANCELLED)
        if not ended and not await self._mailbox.cancel(request.run_id, owner):
            raise RunNotFound(request.run_id)
        return inference_service_pb2.CancelResponse()

    async def SubmitToolResult(
        self, request: inference_service_pb2.SubmitToolResultRequest, context: Context
    ) -> inference_service_pb2.SubmitToolResultResponse:
        """See `InferenceService.SubmitToolResult`."""
        del context
        await self._deliver(request.run_id, request.result.call_id, translate.client_result(request.result))
        return inference_service_pb2.SubmitToolResultResponse()

    async def DecideApproval(
        self, request: inference_service_pb2.DecideApprovalRequest, context: Context
    ) -> inference_service_pb2.DecideApprovalResponse:
        """See `InferenceService.DecideApproval`."""
        del context
        await self._deliver(request.run_id, request.decision.call_id, translate.decision(request.decision))
        return inference_service_pb2.DecideApprovalResponse()

    async def _deliver(self, run_id: str, call_id: str, answer: Answer) -> None:
        """Give a run of the current caller an answer, wherever it runs.

        Raises:
            RunNotFound: The caller has no such run.
            CallNotWaiting: No call of it waits for such an answer.
            PermissionMissing: The caller may not let the call run.
            DependencyUnavailable: The other replicas cannot be asked.
        """
        caller = current_principal()
        owner, granted = Owner.of(caller), caller.permissions
        delivery = self._runs.answer(run_id, owner, call_id, answer, granted)
        if delivery.outcome is Outcome.NO_RUN:
            delivery = await self._mailbox.answer(run_id, owner, call_id, answer, granted)
        match delivery.outcome:
            case Outcome.NO_RUN:
                raise RunNotFound(run_id)
            case Outcome.NOT_WAITING:
                raise CallNotWaiting(run_id, call_id)
            case Outcome.NOT_PERMITTED:
                raise PermissionMissing(delivery.permission)

    async def ListModels(
        self, request: inference_service_pb2.ListModelsRequest, context: Context
    ) -> inference_service_pb2.ListModelsResponse:
        """See `InferenceService.ListModels`."""
        del context
        caller = current_principal()
        owner = caller.user_id
        after = self._page_tokens.decode(request.page_token, request, owner)
        later = [served for served in self._models.permitted(caller) if served.name > after]
        page = later[: page_size(request.page_size)]
        more = len(later) > len(page)
        return inference_service_pb2.ListModelsResponse(
            models=[translate.model(served) for served in page],
            next_page_token=self._page_tokens.encode(page[-1].name, request, owner) if more else "",
        )


async def _prepare(loop: AgentLoop) -> None:
    """Do what may still fail as a call.

    Raises:
        ServiceError: It failed.
    """
    try:
        await loop.prepare()
    except RunEnded as ended:
        raise _ended_too_soon(ended) from None


def _payer(engine: Engine) -> Payer:
    """Who pays for what the current caller asks of this engine."""
    principal = current_principal()
    return Payer(principal.tenant_id, principal.user_id, principal.key_id, engine.card.name)


def _ending(run: Run) -> Any:
    """Ends a run when its call is over; grpc's stubs type such callbacks as no function can be."""

    def end(_context: Context) -> None:
        run.end(FinishReason.CANCELLED)

    return end


def _limit(order: ChatOrder) -> Limit:
    """Which comes first: the end of the run's time, or the call's deadline."""
    now = asyncio.get_running_loop().time()
    time_limit = Limit(now + order.limits.max_seconds, FinishReason.TIME_LIMIT)
    deadline = current_call().deadline
    if deadline is None:
        return time_limit
    least, most = DEADLINE_MARGIN_SECONDS
    margin = min(max((deadline - now) * DEADLINE_SHARE, least), most)
    return min(time_limit, Limit(deadline - margin, FinishReason.DEADLINE), key=lambda limit: limit.at)


def _ended_too_soon(ended: RunEnded) -> ServiceError:
    """The error of a run that ended before its first event."""
    if ended.reason is FinishReason.CANCELLED:
        return Cancelled("The call was cancelled before its run began.")
    if ended.reason is FinishReason.REVOKED:
        return TokenRevoked()
    return DeadlineExceeded("There was no time to begin the run; allow more.")
