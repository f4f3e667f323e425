"""`parley.inference.v1.OpenAIService`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote

import grpc
from google.api import httpbody_pb2
from grpc_status import rpc_status

from parley.inference.v1 import chat_pb2, openai_service_pb2
from parley.inference.v1.openai_service_pb2_grpc import OpenAIServiceServicer
from services.inference.embedding import Embedding
from services.inference.errors import ParameterInvalid
from services.inference.models import Models
from services.inference.openai_compat.bodies import piece, read_object, whole
from services.inference.openai_compat.chat_chunks import ChatChunks
from services.inference.openai_compat.chat_requests import ChatReader
from services.inference.openai_compat.chat_wholes import chat_completion
from services.inference.openai_compat.checking import Checker
from services.inference.openai_compat.completion_requests import CompletionReader
from services.inference.openai_compat.completions import CompletionChunks, completion
from services.inference.openai_compat.embeddings import EmbeddingReader, embedding_list
from services.inference.openai_compat.failures import RunFailed
from services.inference.openai_compat.gathering import Responses
from services.inference.openai_compat.model_cards import model_card, model_list
from services.inference.openai_compat.request_models import RequestModels
from services.inference.openai_compat.response_requests import ResponseReader
from services.inference.openai_compat.responses import ResponseEvents
from services.inference.replicas.directory import ModelDirectory
from services.inference.runs.answering import Answering
from services.inference.runs.call_end import cuts, ends_with
from services.inference.runs.joint_answers import Told, begin_all
from services.inference.runs.order import ChatOrder
from services.inference.translation import requests as translate
from services.rpc.call import current_principal, note

MAX_NAME_CHARACTERS = 256

Context = grpc.aio.ServicerContext[Any, Any]
Bodies = AsyncGenerator[httpbody_pb2.HttpBody, None]
Whole = Callable[[Responses], Awaitable[dict[str, Any]]]
T = TypeVar("T")


class Chunks(Protocol):
    """Writes a run's events as server-sent events."""

    def of(self, happened: chat_pb2.ChatEvent) -> Iterator[bytes]:
        """Those that stand for an event."""
        ...


class OpenAIServicer(OpenAIServiceServicer):
    """Answers OpenAI's clients by the runs that answer everybody."""

    def __init__(
        self, answering: Answering, models: Models, directory: ModelDirectory, embedding: Embedding
    ) -> None:
        """Serve these models.

        Args:
            answering: Answers chats.
            models: The models of this replica.
            directory: The models of all pools.
            embedding: Embeds texts.
        """
        self._answering = answering
        self._models = models
        self._directory = directory
        self._embedding = embedding
        checker = Checker()
        readers = RequestModels(), checker
        self._chats = ChatReader(*readers)
        self._completions = CompletionReader(*readers)
        self._responses = ResponseReader(*readers)
        self._embeddings = EmbeddingReader(checker)

    async def CreateChatCompletion(self, request: httpbody_pb2.HttpBody, context: Context) -> Bodies:
        """See `OpenAIService.CreateChatCompletion`."""
        asked = await self._chats.read(self._body(request))
        chunks = ChatChunks(asked) if asked.stream else None
        answer = self._answer(_order(asked.request), chunks, partial(chat_completion, asked), context)
        async with aclosing(answer) as bodies:
            async for body in bodies:
                yield body

    async def CreateCompletion(self, request: httpbody_pb2.HttpBody, context: Context) -> Bodies:
        """See `OpenAIService.CreateCompletion`."""
        asked = await self._completions.read(self._body(request))
        orders = [translate.completion_order(each) for each in asked.requests]
        async with begin_all(self._answering, orders, ends_with(context)) as answers:
            if answers.headers:
                await context.send_initial_metadata(answers.headers)
            cut = cuts(context, self._answering.reader_seconds)
            async with aclosing(answers.told(cut)) as told:
                if not asked.stream:
                    write = partial(completion, asked, answers.run_id)
                    yield await _whole(_noted(told), write, context)
                    return
                chunks = CompletionChunks(asked, answers.run_id)
                async for prompt, response in _noted(told):
                    for data in chunks.of(prompt, response.event):
                        yield piece(data)
                    if chunks.failed:
                        return

    async def CreateResponse(self, request: httpbody_pb2.HttpBody, context: Context) -> Bodies:
        """See `OpenAIService.CreateResponse`."""
        asked = await self._responses.read(self._body(request))
        events = ResponseEvents(asked)
        chunks = events if asked.stream else None
        answer = self._answer(_order(asked.request), chunks, events.gather, context)
        async with aclosing(answer) as bodies:
            async for body in bodies:
                yield body

    async def CreateEmbedding(
        self, request: httpbody_pb2.HttpBody, context: Context
    ) -> httpbody_pb2.HttpBody:
        """See `OpenAIService.CreateEmbedding`."""
        del context
        body = read_object(request.data)
        self._models.embedder(_model(body), current_principal())
        asked = self._embeddings.read(body)
        return whole(embedding_list(asked, await self._embedding.answer(asked.request)))

    def _body(self, request: httpbody_pb2.HttpBody) -> dict[str, Any]:
        """What a request holds, whose model can be asked: what reads the rest comes with the first engine.

        Raises:
            ServiceError: It cannot be read, or its model not be asked.
        """
        body = read_object(request.data)
        self._answering.engine(_model(body))
        return body

    async def _answer(
        self, order: ChatOrder, chunks: Chunks | None, write: Whole, context: Context
    ) -> Bodies:
        """Answer an order as a run of the current caller: in chunks, or whole."""
        async with self._answering.begin(order, ends_with(context)) as answer:
            if answer.headers:
                await context.send_initial_metadata(answer.headers)
            cut = cuts(context, self._answering.reader_seconds)
            async with aclosing(answer.told(cut)) as responses:
                if chunks is None:
                    yield await _whole(_told(responses), write, context)
                    return
                async for response in _told(responses):
                    for data in chunks.of(response.event):
                        yield piece(data)

    async def ListModels(
        self, request: openai_service_pb2.OpenAIServiceListModelsRequest, context: Context
    ) -> httpbody_pb2.HttpBody:
        """See `OpenAIService.ListModels`."""
        return whole(model_list(self._directory.permitted(current_principal())))

    async def RetrieveModel(
        self, request: openai_service_pb2.OpenAIServiceRetrieveModelRequest, context: Context
    ) -> httpbody_pb2.HttpBody:
        """See `OpenAIService.RetrieveModel`."""
        return whole(model_card(self._directory.find(unquote(request.model), current_principal())))


def _model(body: dict[str, Any]) -> str:
    """The model that a body names; an empty name means the default.

    Raises:
        ParameterInvalid: It is no name.
    """
    model = body.get("model") or ""
    if not isinstance(model, str):
        raise ParameterInvalid("model", "it is no text")
    if len(model) > MAX_NAME_CHARACTERS:
        raise ParameterInvalid("model", f"it has more than {MAX_NAME_CHARACTERS} characters")
    return model


def _order(request: chat_pb2.ChatRequest) -> ChatOrder:
    """The order of a chat, whose client takes calls as the model wrote them."""
    order = translate.chat_order(request)
    return replace(order, client_tools=replace(order.client_tools, unchecked=True))


async def _whole(
    responses: T, write: Callable[[T], Awaitable[dict[str, Any]]], context: Context
) -> httpbody_pb2.HttpBody:
    """The answer in one piece; a run that came to none ends the call with its own status."""
    try:
        return whole(await write(responses))
    except RunFailed as failed:
        await context.abort_with_status(rpc_status.to_status(failed.status))
        raise AssertionError from failed


async def _told(responses: Responses) -> Responses:
    """The same events; the audit, which reads no bodies, learns of the run."""
    async for response in responses:
        _note(response)
        yield response


async def _noted(told: Told) -> Told:
    """The same events; the audit learns of the first run, after which the answer is named."""
    async for run, response in told:
        if not run:
            _note(response)
        yield run, response


def _note(response: chat_pb2.ChatResponse) -> None:
    if response.event.HasField("started"):
        note(run_id=response.event.started.run_id, model=response.event.started.model)
