"""`parley.inference.v1.OpenAIService`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import grpc
from google.api import httpbody_pb2
from google.rpc import status_pb2
from grpc_status import rpc_status

from parley.inference.v1 import chat_pb2, openai_service_pb2
from parley.inference.v1.openai_service_pb2_grpc import OpenAIServiceServicer
from services.inference import translate
from services.inference.answering import Answering
from services.inference.call_end import ends_with
from services.inference.errors import ParameterInvalid
from services.inference.models import Models
from services.inference.openai_compat.bodies import piece, read_object, whole
from services.inference.openai_compat.chat_chunks import ChatChunks
from services.inference.openai_compat.chat_requests import ChatAsked, ChatReader
from services.inference.openai_compat.chat_wholes import ChatWhole
from services.inference.openai_compat.checking import Checker
from services.inference.openai_compat.model_cards import model_card, model_list
from services.inference.openai_compat.request_models import RequestModels
from services.inference.order import ChatOrder
from services.rpc.call import current_principal, note

MAX_NAME_CHARACTERS = 256

Context = grpc.aio.ServicerContext[Any, Any]
Bodies = AsyncGenerator[httpbody_pb2.HttpBody, None]
Responses = AsyncIterator[chat_pb2.ChatResponse]


class OpenAIServicer(OpenAIServiceServicer):
    """Answers OpenAI's clients by the runs that answer everybody."""

    def __init__(self, answering: Answering, models: Models) -> None:
        """Serve these models.

        Args:
            answering: Answers chats.
            models: The models.
        """
        self._answering = answering
        self._models = models
        self._chats = ChatReader(RequestModels(), Checker())

    async def CreateChatCompletion(self, request: httpbody_pb2.HttpBody, context: Context) -> Bodies:
        """See `OpenAIService.CreateChatCompletion`."""
        body = read_object(request.data)
        self._find(body.get("model") or "")
        asked = await self._chats.read(body)
        async with self._answering.begin(_order(asked), ends_with(context)) as answer:
            if answer.headers:
                await context.send_initial_metadata(answer.headers)
            async with aclosing(answer.responses()) as responses:
                if asked.stream:
                    async for data in _chunks(asked, responses):
                        yield piece(data)
                else:
                    yield await _whole(asked, responses, context)

    def _find(self, model: Any) -> None:
        """Find the model before the request is read: what reads it comes with the first engine.

        Raises:
            ServiceError: It cannot be asked.
        """
        if not isinstance(model, str):
            return
        if len(model) > MAX_NAME_CHARACTERS:
            raise ParameterInvalid("model", f"it has more than {MAX_NAME_CHARACTERS} characters")
        self._answering.engine(model)

    async def ListModels(
        self, request: openai_service_pb2.OpenAIServiceListModelsRequest, context: Context
    ) -> httpbody_pb2.HttpBody:
        """See `OpenAIService.ListModels`."""
        return whole(model_list(self._models.permitted(current_principal())))

    async def RetrieveModel(
        self, request: openai_service_pb2.OpenAIServiceRetrieveModelRequest, context: Context
    ) -> httpbody_pb2.HttpBody:
        """See `OpenAIService.RetrieveModel`."""
        return whole(model_card(self._models.find(unquote(request.model), current_principal())))


def _order(asked: ChatAsked) -> ChatOrder:
    """The order of a chat, whose client takes calls as the model wrote them."""
    order = translate.chat_order(asked.request)
    return replace(order, client_tools=replace(order.client_tools, unchecked=True))


async def _chunks(asked: ChatAsked, responses: Responses) -> AsyncIterator[bytes]:
    chunks = ChatChunks(asked)
    async for response in responses:
        _tell_audit(response.event)
        for data in chunks.of(response.event):
            yield data


async def _whole(asked: ChatAsked, responses: Responses, context: Context) -> httpbody_pb2.HttpBody:
    gathered = ChatWhole(asked)
    failure = await gathered.gather(responses)
    if failure is not None:
        await _fail(context, failure)
    return whole(gathered.answer())


def _tell_audit(happened: chat_pb2.ChatEvent) -> None:
    """The audit reads no bodies."""
    if happened.HasField("started"):
        note(run_id=happened.started.run_id, model=happened.started.model)


async def _fail(context: Context, failure: status_pb2.Status) -> None:
    """End the call with what its run ended with."""
    await context.abort_with_status(rpc_status.to_status(failure))
