"""Asks a model for a tool, for the tool's caller and at their expense."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import grpc

from parley.inference.v1 import chat_pb2
from services.rpc.call import AUTHORIZATION, onward_metadata
from services.rpc.errors import DependencyUnavailable, error_info, status_of
from services.rpc.principal import Principal
from services.rpc.token_exchange import exchange_token
from services.tools.errors import ModelRefused
from services.tools.events import Output, Reporter

if TYPE_CHECKING:
    # The stubs as grpc.aio makes them; they exist for type checkers alone.
    from parley.auth.v1.token_service_pb2_grpc import TokenServiceAsyncStub
    from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceAsyncStub

AnswerEnd = Literal["stop", "length", "budget"]

# An answer that was cut is still an answer; whoever asked is told.
ANSWER_ENDS: Mapping[int, AnswerEnd] = {
    chat_pb2.FINISH_REASON_STOP: "stop",
    chat_pb2.FINISH_REASON_LENGTH: "length",
    chat_pb2.FINISH_REASON_BUDGET: "budget",
}


@dataclass(frozen=True)
class ModelAnswer:
    """What a model answered.

    Attributes:
        text: The answer, without the reasoning and without white space around it.
        model: The model that gave it.
        finish_reason: Whether it is whole, or why not.
        prompt_tokens: Tokens of the prompt.
        completion_tokens: Tokens generated, reasoning included.
    """

    text: str
    model: str
    finish_reason: AnswerEnd
    prompt_tokens: int
    completion_tokens: int


class NestedChats:
    """Chats within the call of a tool.

    Inference is shown a token with which this service acts for the caller
    (RFC 8693) and which no service of tools takes: the model that is asked here
    can call none, whatever it is told.
    """

    def __init__(
        self,
        inference: InferenceServiceAsyncStub,
        tokens: TokenServiceAsyncStub,
        pools: Mapping[str, InferenceServiceAsyncStub] | None = None,
    ) -> None:
        """Ask these models.

        Args:
            inference: Asked where no other is.
            tokens: Where tokens for it are had.
            pools: Asked for models of these names, and for their adapters.
        """
        self._inference = inference
        self._tokens = tokens
        self._pools = {} if pools is None else pools

    async def ask(
        self, tool: str, caller: Principal, request: chat_pb2.ChatRequest, seconds: float, report: Reporter
    ) -> ModelAnswer:
        """Have a question answered. Being cancelled frees the engine.

        Args:
            tool: The tool that asks.
            caller: For whom.
            request: The question.
            seconds: Time that the answer may take.
            report: Told of the answer as it grows.

        Raises:
            ModelRefused: Inference refuses, or the answer broke off.
            TokenRevoked: The caller's token was revoked.
            DependencyUnavailable: Inference or auth does not answer.
        """
        token = await exchange_token(self._tokens, caller.token, seconds)
        metadata = (*onward_metadata()[:1], (AUTHORIZATION, f"Bearer {token}"))
        base_model = request.model.rpartition(":")[0]
        pool = self._pools.get(request.model) or self._pools.get(base_model, self._inference)
        call = pool.Chat(request, metadata=metadata, timeout=seconds)
        try:
            return await _answer(tool, call, report)
        except grpc.aio.AioRpcError as error:
            raise _refusal(tool, error) from None
        finally:
            call.cancel()


async def _answer(
    tool: str, responses: AsyncIterable[chat_pb2.ChatResponse], report: Reporter
) -> ModelAnswer:
    """Read a run to its end.

    Raises:
        ModelRefused: It ended without an answer.
    """
    model, pieces, usage = "", list[str](), chat_pb2.Usage()
    async for response in responses:
        event = response.event
        match event.WhichOneof("event"):
            case "started":
                model = event.started.model
            case "content_delta":
                # Models that reason begin with empty lines.
                text = event.content_delta.text if pieces else event.content_delta.text.lstrip()
                if text:
                    pieces.append(text)
                    await report(Output(text))
            case "usage":
                usage = event.usage
            case "finished":
                reason = _finish_reason(tool, event.finished)
                return ModelAnswer(
                    "".join(pieces).rstrip(), model, reason, usage.prompt_tokens, usage.completion_tokens
                )
    raise DependencyUnavailable("inference")


def _finish_reason(tool: str, finished: chat_pb2.ChatFinished) -> AnswerEnd:
    """How an answer ended.

    Raises:
        ModelRefused: It is none.
    """
    if finished.reason in ANSWER_ENDS:
        return ANSWER_ENDS[finished.reason]
    name = chat_pb2.FinishReason.Name(finished.reason).removeprefix("FINISH_REASON_")
    info = error_info(finished.error)
    raise ModelRefused(tool, info.reason if info else name, finished.error.message or "its run was ended")


def _refusal(tool: str, error: grpc.aio.AioRpcError) -> ModelRefused | DependencyUnavailable:
    """What a failed call means to who called the tool."""
    status = status_of(error)
    info = error_info(status)
    if info is None:
        return DependencyUnavailable("inference")
    return ModelRefused(tool, info.reason, status.message)
