"""The client: every method of the platform, with credentials, typed errors and streams that close.

async with Client(open_channel("localhost:8443", authority=path), ApiKey(secret)) as client:
    async with client.chat(question("What is 17 * 23?")) as events:
        async for event in events:
            print(event.content_delta.text, end="")
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

import grpc

from parley.auth.v1 import key_service_pb2, session_service_pb2
from parley.auth.v1.key_service_pb2_grpc import KeyServiceStub
from parley.auth.v1.session_service_pb2_grpc import SessionServiceStub
from parley.inference.v1 import (
    answer_pb2,
    chat_pb2,
    converse_pb2,
    inference_service_pb2,
    message_pb2,
    model_pb2,
    tokens_pb2,
)
from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from parley.tools.v1 import execution_pb2, tool_pb2, tool_service_pb2
from parley.tools.v1.tool_service_pb2_grpc import ToolServiceStub
from parley_client.adapters import Adapters
from parley_client.administration import Administration
from parley_client.caller import Caller, nothing, pages
from parley_client.conversation import Call, ConversationStream, approval_decision
from parley_client.conversations import Conversations
from parley_client.credentials import AccessToken, Anonymous, Credentials, Login, Metadata, Tokens
from parley_client.pools import MODEL_KEY, Pools
from parley_client.resuming import ResumingStream
from parley_client.rollouts import Rollouts
from parley_client.stream import EventStream

CONVERSATION_KEY = "parley-conversation"
"""Metadata by which the edge sends a conversation to the replica that has its prefix cached."""

ResumeCall = grpc.aio.UnaryStreamCall[
    inference_service_pb2.ResumeRequest, inference_service_pb2.ResumeResponse
]


def user_message(text: str, *images: message_pb2.ContentPart) -> message_pb2.Message:
    """A message of plain text from the person, after images, if any (`parley_client.images.image`)."""
    parts = [*images, message_pb2.ContentPart(text=text)]
    return message_pb2.Message(role=message_pb2.ROLE_USER, content=parts)


def question(text: str, *, model: str = "", all_tools: bool = True) -> chat_pb2.ChatRequest:
    """A request of one user message, offering every tool of the caller unless told otherwise."""
    server_tools = chat_pb2.ServerTools(all=all_tools)
    return chat_pb2.ChatRequest(model=model, messages=[user_message(text)], server_tools=server_tools)


def _routing(
    asked: chat_pb2.ChatRequest | converse_pb2.ConverseSetup, pools: Pools
) -> tuple[tuple[str, str], ...]:
    """Where a call goes. A conversation's id that metadata cannot carry is left out: any replica will do."""
    model, conversation = (MODEL_KEY, pools.model(asked.model)), asked.conversation_id
    carried = conversation and conversation.isascii() and conversation.isprintable()
    return (model, (CONVERSATION_KEY, conversation)) if carried else (model,)


class Client:
    """Calls to one deployment. Owns the channel: leaving its `async with` closes it.

    Every method raises `ParleyError` when the call does not end well.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        credentials: Credentials | None = None,
        *,
        beside: Callable[[], Metadata] = nothing,
    ) -> None:
        """Call over a channel.

        Args:
            channel: Closed with the client.
            credentials: Who calls. Default: nobody.
            beside: Gives metadata that goes with each call beside the credentials.
        """
        self._channel = channel
        self._caller = Caller(credentials or Anonymous(), beside)
        self.administration = Administration(channel, self._caller)
        """What administers the deployment, with the same credentials."""
        self.conversations = Conversations(channel, self._caller)
        """The caller's stored conversations."""
        self.adapters = Adapters(channel, self._caller)
        """The LoRA adapters of the platform's models."""
        self.rollouts = Rollouts(channel, self._caller)
        """The rollouts of the caller's tenant."""
        self._pools = Pools()
        self._inference = InferenceServiceStub(channel)
        self._tools = ToolServiceStub(channel)
        self._keys = KeyServiceStub(channel)
        self._sessions = SessionServiceStub(channel)

    @property
    def channel(self) -> grpc.aio.Channel:
        """What the calls go over, for contracts beside Parley's own, such as gRPC's health protocol."""
        return self._channel

    @property
    def credentials(self) -> Credentials:
        """Who calls. May be replaced at any time, for example after `login`."""
        return self._caller.credentials

    @credentials.setter
    def credentials(self, credentials: Credentials) -> None:
        self._caller.credentials = credentials

    def chat(
        self, request: chat_pb2.ChatRequest, *, timeout_seconds: float | None = None
    ) -> EventStream[chat_pb2.ChatEvent]:
        """Asks, and gives the answer's events as they come. Closing the stream cancels the run.

        With a `resume_window` in the request a stream that is cut is resumed by itself.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds

        def timeout() -> float | None:
            return None if deadline is None else max(0.0, deadline - time.monotonic())

        async def open_call() -> grpc.aio.UnaryStreamCall[chat_pb2.ChatRequest, chat_pb2.ChatResponse]:
            metadata = (*await self._caller.metadata(), *_routing(request, self._pools))
            return self._inference.Chat(request, metadata=metadata, timeout=timeout())

        async def resume(run_id: str, after: int) -> ResumeCall:
            metadata = (*await self._caller.metadata(), (MODEL_KEY, self._pools.model(request.model)))
            rest = inference_service_pb2.ResumeRequest(run_id=run_id, after_sequence=after)
            return self._inference.Resume(rest, metadata=metadata, timeout=timeout())

        detour = self._caller.renewals(otherwise=self._pools.detours())
        if request.HasField("resume_window"):
            return ResumingStream(open_call, resume, self.cancel, detour)
        return EventStream(open_call, lambda response: response.event, detour)

    def resume(self, run_id: str, after_sequence: int = 0) -> EventStream[chat_pb2.ChatEvent]:
        """Reads on in a run of the caller that has a `resume_window`. Closing the stream is a cut.

        Args:
            run_id: `ChatStarted.run_id`.
            after_sequence: The number of the last event that was read; 0 reads from the beginning.
        """
        request = inference_service_pb2.ResumeRequest(run_id=run_id, after_sequence=after_sequence)
        return self._caller.stream(self._inference.Resume, request, lambda response: response.event)

    def converse(
        self, setup: converse_pb2.ConverseSetup, *, timeout_seconds: float | None = None
    ) -> ConversationStream:
        """Begins a conversation on one stream, at its first use. Closing it cancels what runs."""

        async def open_call() -> Call:
            metadata = (*await self._caller.metadata(), *_routing(setup, self._pools))
            return self._inference.Converse(metadata=metadata, timeout=timeout_seconds)

        return ConversationStream(open_call, setup)

    async def submit_tool_result(self, run_id: str, result: answer_pb2.ClientToolResult) -> None:
        """Answers a call of one of the client's own tools, for which a run waits."""
        request = inference_service_pb2.SubmitToolResultRequest(run_id=run_id, result=result)
        await self._caller.unary(self._inference.SubmitToolResult, request)

    async def decide_approval(self, run_id: str, call_id: str, *, approve: bool, note: str = "") -> None:
        """Approves or denies a call that a run of the caller waits to make.

        Args:
            run_id: `ChatStarted.run_id`.
            call_id: As `approval_needed` names it.
            approve: Whether it may run, once.
            note: What the model reads where it is denied.
        """
        decision = approval_decision(call_id, approve, note)
        request = inference_service_pb2.DecideApprovalRequest(run_id=run_id, decision=decision)
        await self._caller.unary(self._inference.DecideApproval, request)

    async def cancel(self, run_id: str) -> None:
        """Ends a run of the caller, whichever replica runs it."""
        await self._caller.unary(self._inference.Cancel, inference_service_pb2.CancelRequest(run_id=run_id))

    async def list_models(self) -> list[model_pb2.Model]:
        """Every model that can be asked, by name."""

        def page(token: str) -> Awaitable[inference_service_pb2.ListModelsResponse]:
            request = inference_service_pb2.ListModelsRequest(page_token=token)
            return self._caller.unary(self._inference.ListModels, request)

        return [model async for answer in pages(page) for model in answer.models]

    async def get_model(self, name: str) -> inference_service_pb2.GetModelResponse:
        """A model, and how the engines of its replicas are doing."""
        request = inference_service_pb2.GetModelRequest(name=name)
        return await self._caller.unary(self._inference.GetModel, request, also=((MODEL_KEY, name),))

    async def tokenize(self, text: str, *, model: str = "") -> list[int]:
        """The tokens of a text alone, without those that begin a prompt.

        Args:
            text: The text.
            model: The model's name; empty for the default one.
        """
        request = tokens_pb2.TokenizeRequest(model=model, text=text, add_special_tokens=False)
        also = ((MODEL_KEY, model),)
        return list((await self._caller.unary(self._inference.Tokenize, request, also=also)).token_ids)

    async def purge_cache(self, model: str = "") -> int:
        """Forgets the cached turns of a model, for the caller's tenant; gives how many were deleted.

        Args:
            model: The model's name; empty for the default one.
        """
        request = inference_service_pb2.PurgeCacheRequest(model=model)
        also = ((MODEL_KEY, model),)
        return (await self._caller.unary(self._inference.PurgeCache, request, also=also)).deleted_turns

    async def list_tools(
        self, category: tool_pb2.Category.ValueType = tool_pb2.CATEGORY_UNSPECIFIED
    ) -> list[tool_pb2.Tool]:
        """Every tool that the caller may use, by name."""

        def page(token: str) -> Awaitable[tool_service_pb2.ListToolsResponse]:
            request = tool_service_pb2.ListToolsRequest(page_token=token, category=category)
            return self._caller.unary(self._tools.ListTools, request)

        return [tool async for answer in pages(page) for tool in answer.tools]

    async def get_tool(self, name: str) -> tool_pb2.Tool:
        """One tool that the caller may use."""
        request = tool_service_pb2.GetToolRequest(name=name)
        return (await self._caller.unary(self._tools.GetTool, request)).tool

    async def tool_stats(self, tool: str = "", user_id: str = "") -> tool_service_pb2.GetStatsResponse:
        """How the calls of the caller's tenant went; of one tool or user, where one is named."""
        request = tool_service_pb2.GetStatsRequest(tool=tool, user_id=user_id)
        return await self._caller.unary(self._tools.GetStats, request)

    async def reset_tool_stats(self) -> datetime:
        """Starts the figures of the caller's tenant anew; from when."""
        answer = await self._caller.unary(self._tools.ResetStats, tool_service_pb2.ResetStatsRequest())
        return answer.since.ToDatetime(UTC)

    def execute(
        self, tool: str, arguments: str, *, timeout_seconds: float | None = None, idempotency_key: str = ""
    ) -> EventStream[execution_pb2.ToolEvent]:
        """Runs a tool with arguments as JSON text. Closing the stream of events ends the tool.

        Args:
            tool: Its name.
            arguments: A JSON object.
            timeout_seconds: Time that it may take, if less than the tool's own.
            idempotency_key: The same key with the same arguments gives the first call's result again.
        """
        call = execution_pb2.ToolInvocation(
            call_id="1", tool=tool, arguments=arguments, idempotency_key=idempotency_key
        )
        if timeout_seconds is not None:
            call.timeout.FromTimedelta(timedelta(seconds=timeout_seconds))
        request = tool_service_pb2.ExecuteRequest(call=call)
        return self._caller.stream(self._tools.Execute, request, lambda response: response.event)

    async def login(self, username: str, password: str) -> Tokens:
        """Begins a session. The client's own credentials stay as they are."""
        request = session_service_pb2.LoginRequest(username=username, password=password)
        answer = await self._caller.unary(self._sessions.Login, request, Anonymous())
        return replace(Tokens.from_pair(answer.tokens), must_change_password=answer.must_change_password)

    async def change_password(self, current_password: str, new_password: str) -> None:
        """Changes the caller's own password. A login goes on with the rights that it has from then on."""
        await self.administration.change_password(current_password, new_password)
        if isinstance(self.credentials, Login):
            await self.credentials.renew()

    async def refresh(self, refresh_token: str) -> Tokens:
        """Carries a session on; the refresh token is used up by this."""
        request = session_service_pb2.RefreshRequest(refresh_token=refresh_token)
        return Tokens.from_pair(
            (await self._caller.unary(self._sessions.Refresh, request, Anonymous())).tokens
        )

    async def logout(self) -> None:
        """Ends the caller's session and its tokens."""
        await self._caller.unary(self._sessions.Logout, session_service_pb2.LogoutRequest())

    async def who_am_i(self) -> session_service_pb2.WhoAmIResponse:
        """Who the caller is and what the caller may do."""
        return await self._caller.unary(self._sessions.WhoAmI, session_service_pb2.WhoAmIRequest())

    async def create_key(
        self, name: str, scopes: Sequence[str] = (), expires_at: datetime | None = None
    ) -> key_service_pb2.CreateKeyResponse:
        """Makes an API key. Its secret is in this answer and nowhere after."""
        request = key_service_pb2.CreateKeyRequest(name=name, scopes=scopes)
        if expires_at is not None:
            request.expire_time.FromDatetime(expires_at)
        return await self._caller.unary(self._keys.CreateKey, request)

    async def exchange_key(self, secret: str) -> AccessToken:
        """An access token for an API key; `ExchangedKey` asks for it."""
        request = key_service_pb2.ExchangeKeyRequest(secret=secret)
        answer = await self._caller.unary(self._keys.ExchangeKey, request, Anonymous())
        return AccessToken(answer.access_token, datetime.now(UTC) + answer.expires_in.ToTimedelta())

    async def list_keys(self) -> list[key_service_pb2.Key]:
        """The caller's keys, newest first, without secrets."""

        def page(token: str) -> Awaitable[key_service_pb2.ListKeysResponse]:
            return self._caller.unary(self._keys.ListKeys, key_service_pb2.ListKeysRequest(page_token=token))

        return [key async for answer in pages(page) for key in answer.keys]

    async def revoke_key(self, key_id: str) -> key_service_pb2.Key:
        """Ends a key of the caller."""
        request = key_service_pb2.RevokeKeyRequest(key_id=key_id)
        return (await self._caller.unary(self._keys.RevokeKey, request)).key

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()
