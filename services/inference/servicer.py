"""The inference service's methods."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any

import grpc

from parley.inference.v1 import (
    chat_pb2,
    completion_pb2,
    converse_pb2,
    embed_pb2,
    inference_service_pb2,
    tokens_pb2,
)
from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceServicer
from services.inference import token_methods
from services.inference.calling.errors import CallNotWaiting
from services.inference.calling.waiting_calls import Answer, Outcome
from services.inference.converse_stream import ConverseStream
from services.inference.embedding import Embedding
from services.inference.errors import ReaderTooSlow, RunNotFound
from services.inference.models import Models
from services.inference.replicas.directory import ModelDirectory
from services.inference.replicas.mailbox import Mailbox
from services.inference.resumption.kept_runs import Reader
from services.inference.resumption.remote_runs import RemoteReader
from services.inference.resumption.resumption import Resumption, without_window
from services.inference.runs.answering import Answering
from services.inference.runs.call_end import at_the_end, cuts, ends_with
from services.inference.runs.events import FinishReason
from services.inference.runs.order import ChatOrder
from services.inference.runs.registry import Owner, RunRegistry
from services.inference.runs.slow_readers import read_in_time
from services.inference.translation import models as translate_models
from services.inference.translation import requests as translate
from services.inference.turn_cache.cache import TurnCache
from services.rpc.call import current_call, current_principal
from services.rpc.errors import PermissionMissing
from services.rpc.pages import PageTokens, page_size

Context = grpc.aio.ServicerContext[Any, Any]
Converse = Callable[[], ConverseStream]


class InferenceServicer(InferenceServiceServicer):
    """Answers chats, ends runs, lists models."""

    def __init__(
        self,
        answering: Answering,
        resumption: Resumption,
        converse: Converse,
        models: Models,
        directory: ModelDirectory,
        runs: RunRegistry,
        mailbox: Mailbox,
        page_tokens: PageTokens,
        embedding: Embedding,
        cache: TurnCache | None = None,
    ) -> None:
        """Serve these models.

        Args:
            answering: Answers chats.
            resumption: Keeps those that outlive their call.
            converse: Makes a conversation with the current caller.
            models: The models of this replica.
            directory: The models of all pools.
            runs: The runs of this replica.
            mailbox: Finds the runs that other replicas have.
            page_tokens: Seals the places in lists.
            embedding: Embeds texts.
            cache: What was answered before; None where nothing is kept.
        """
        self._answering = answering
        self._resumption = resumption
        self._converse = converse
        self._models = models
        self._directory = directory
        self._runs = runs
        self._mailbox = mailbox
        self._page_tokens = page_tokens
        self._embedding = embedding
        self._cache = cache

    async def Chat(
        self, request: chat_pb2.ChatRequest, context: Context
    ) -> AsyncGenerator[chat_pb2.ChatResponse, None]:
        """See `InferenceService.Chat`."""
        order = translate.chat_order(request)
        hindrance = await self._resumption.hindrance() if order.resume_seconds else None
        if order.resume_seconds and hindrance is None:
            async with self._kept(order, request, context) as events:
                async for event in events:
                    yield chat_pb2.ChatResponse.FromString(event)
            return
        async with aclosing(self._answer(order, context)) as responses:
            async for response in responses:
                if hindrance is not None:
                    without_window(response, hindrance)
                yield response

    async def Complete(
        self, request: completion_pb2.CompleteRequest, context: Context
    ) -> AsyncGenerator[completion_pb2.CompleteResponse, None]:
        """See `InferenceService.Complete`."""
        async with aclosing(self._answer(translate.completion_order(request), context)) as responses:
            async for response in responses:
                yield completion_pb2.CompleteResponse(event=response.event)

    async def _answer(
        self, order: ChatOrder, context: Context
    ) -> AsyncGenerator[chat_pb2.ChatResponse, None]:
        """Answer an order as a run of the current caller."""
        async with self._answering.begin(order, ends_with(context)) as answer:
            if answer.headers:
                await context.send_initial_metadata(answer.headers)
            cut = cuts(context, self._answering.reader_seconds)
            async with aclosing(answer.told(cut)) as responses:
                async for response in responses:
                    yield response

    @asynccontextmanager
    async def _kept(
        self, order: ChatOrder, request: chat_pb2.ChatRequest, context: Context
    ) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """The events of a run that outlives the call."""
        kept = self._resumption.begin(order, request.SerializeToString())
        current_call().when_revoked = kept.revoke
        async with self._reading(kept.reader(), context, after=0) as events:
            if headers := await kept.headers():
                await context.send_initial_metadata(headers)
            yield events

    @asynccontextmanager
    async def _reading(
        self, reader: Reader | RemoteReader, context: Context, *, after: int
    ) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """What a reader reads after an event, until the block or the call ends."""
        context.add_done_callback(at_the_end(reader.leave))
        seconds = self._answering.reader_seconds

        def give_up() -> ReaderTooSlow:
            reader.leave()
            return ReaderTooSlow(seconds)

        try:
            told = read_in_time(reader.events(after), seconds, give_up, cuts(context, seconds))
            async with aclosing(told) as events:
                yield events
        finally:
            reader.leave()

    async def Resume(
        self, request: inference_service_pb2.ResumeRequest, context: Context
    ) -> AsyncGenerator[inference_service_pb2.ResumeResponse, None]:
        """See `InferenceService.Resume`."""
        reader = self._resumption.reader(request.run_id)
        async with self._reading(reader, context, after=request.after_sequence) as events:
            async for event in events:
                # The same on the wire as the response that `Chat` had for it.
                yield inference_service_pb2.ResumeResponse.FromString(event)

    async def Converse(
        self, request_iterator: AsyncIterator[converse_pb2.ConverseRequest], context: Context
    ) -> AsyncGenerator[converse_pb2.ConverseResponse, None]:
        """See `InferenceService.Converse`."""
        conversation = self._converse()
        context.add_done_callback(at_the_end(conversation.leave))
        seconds = self._answering.reader_seconds
        told = read_in_time(
            conversation.responses(request_iterator),
            seconds,
            partial(conversation.give_up, seconds),
            cuts(context, seconds),
        )
        async with aclosing(told) as responses:
            async for response in responses:
                yield response

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

    async def Embed(self, request: embed_pb2.EmbedRequest, context: Context) -> embed_pb2.EmbedResponse:
        """See `InferenceService.Embed`."""
        del context
        return await self._embedding.answer(request)

    async def ListModels(
        self, request: inference_service_pb2.ListModelsRequest, context: Context
    ) -> inference_service_pb2.ListModelsResponse:
        """See `InferenceService.ListModels`."""
        del context
        caller = current_principal()
        owner = caller.user_id
        after = self._page_tokens.decode(request.page_token, request, owner)
        later = [model for model in self._directory.permitted(caller) if model.name > after]
        page = later[: page_size(request.page_size)]
        more = len(later) > len(page)
        return inference_service_pb2.ListModelsResponse(
            models=page,
            next_page_token=self._page_tokens.encode(page[-1].name, request, owner) if more else "",
        )

    async def PurgeCache(
        self, request: inference_service_pb2.PurgeCacheRequest, context: Context
    ) -> inference_service_pb2.PurgeCacheResponse:
        """See `InferenceService.PurgeCache`."""
        del context
        caller = current_principal()
        model = self._models.find(request.model or self._models.default, caller).name
        deleted = 0 if self._cache is None else await self._cache.purge(caller.tenant_id, model)
        return inference_service_pb2.PurgeCacheResponse(deleted_turns=deleted)

    async def GetModel(
        self, request: inference_service_pb2.GetModelRequest, context: Context
    ) -> inference_service_pb2.GetModelResponse:
        """See `InferenceService.GetModel`."""
        del context
        found = self._directory.find(request.name, current_principal())
        shown = inference_service_pb2.GetModelResponse(
            model=found, replicas=self._directory.replicas(found.name)
        )
        engine = self._models.running(found.name)
        if engine is not None:
            shown.engine_status.CopyFrom(translate_models.engine_status(engine))
        return shown

    async def Tokenize(
        self, request: tokens_pb2.TokenizeRequest, context: Context
    ) -> tokens_pb2.TokenizeResponse:
        """See `InferenceService.Tokenize`."""
        del context
        return await token_methods.tokenize(self._answering.engine(request.model), request)

    async def Detokenize(
        self, request: tokens_pb2.DetokenizeRequest, context: Context
    ) -> tokens_pb2.DetokenizeResponse:
        """See `InferenceService.Detokenize`."""
        del context
        return await token_methods.detokenize(self._answering.engine(request.model), request)

    async def CountTokens(
        self, request: tokens_pb2.CountTokensRequest, context: Context
    ) -> tokens_pb2.CountTokensResponse:
        """See `InferenceService.CountTokens`."""
        del context
        return await token_methods.count(self._answering.engine(request.model), request)
