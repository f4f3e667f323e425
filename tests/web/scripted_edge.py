"""An edge that answers from a script: a real gRPC server over TLS with the real contracts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_status import rpc_status

from parley.auth.v1 import session_service_pb2, session_service_pb2_grpc
from parley.inference.v1 import (
    answer_pb2,
    chat_pb2,
    conversation_service_pb2_grpc,
    inference_service_pb2,
    inference_service_pb2_grpc,
    message_pb2,
    model_pb2,
    rollout_service_pb2,
    rollout_service_pb2_grpc,
)
from parley.tools.v1 import execution_pb2, tool_pb2, tool_service_pb2, tool_service_pb2_grpc
from parley_client.transcript import Transcript
from services.inference.conversations.library import ConversationLibrary
from services.inference.conversations.messages import NewMessage
from services.inference.conversations.servicer import ConversationServicer
from services.inference.runs.registry import Owner
from services.rpc.call import Call, enter_call
from services.rpc.pages import PageTokens
from services.rpc.principal import Principal
from services.rpc.tls import TlsFiles
from tests.web.scripted_auth import ScriptedAuth, who_is
from tests.web.scripted_rollouts import ScriptedRollouts
from tests.web.scripted_status import ScriptedHealth, served

Script = Callable[["ScriptedEdge"], AsyncIterator[dict[str, Any]]]
"""Gives the events of an answer, each as the keyword arguments of a ChatEvent; or those of a tool's call,
as those of a ToolEvent. A status in place of an event ends the call so."""

RUN_ID = "01J00000000000000000000000"
OWNER = Owner("tenant-1", "user-1")
"""Whose the stored conversations are, whoever logs in."""
PASSWORD = "correct horse"  # of a server that lives in this test


def status(code: grpc.StatusCode, message: str, reason: str, **metadata: str) -> status_pb2.Status:
    """A typed error as the platform sends it."""
    info = any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="test.parley", metadata=metadata))
    return status_pb2.Status(code=code.value[0], message=message, details=[info])


@dataclass
class ScriptedEdge(
    inference_service_pb2_grpc.InferenceServiceServicer,
    tool_service_pb2_grpc.ToolServiceServicer,
    session_service_pb2_grpc.SessionServiceServicer,
):
    """Answers each question with the script of that name.

    Attributes:
        scripts: By question.
        tool_scripts: By tool.
        calls: The calls of tools that came, oldest first.
        requests: The chat requests that came, oldest first.
        decisions: What was decided about calls that wait, oldest first.
        verdicts: What was thought of answers, oldest first.
        refusal: What a decision or verdict is answered with instead.
        cancelled: The questions and tools whose calls were cancelled, as they are.
        go: Scripts wait here for the test.
        token_seconds: Life of an access token.
        refreshed: How often a token was renewed.
        ended: True: sessions are over; tokens and refreshes are refused.
        permissions: What everybody may do.
        stated: Where the person is, as the last call said.
        one_time: Whether the password is a one-time password.
        auth: The services of the administration.
        library: Keeps conversations, where any are stored.
    """

    scripts: dict[str, Script] = field(default_factory=dict)
    tool_scripts: dict[str, Script] = field(default_factory=dict)
    requests: list[chat_pb2.ChatRequest] = field(default_factory=list)
    calls: list[execution_pb2.ToolInvocation] = field(default_factory=list)
    decisions: asyncio.Queue[answer_pb2.ApprovalDecision] = field(default_factory=lambda: asyncio.Queue(64))
    verdicts: list[rollout_service_pb2.GiveFeedbackRequest] = field(default_factory=list)
    refusal: status_pb2.Status | None = None
    cancelled: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue(64))
    go: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    token_seconds: int = 900
    refreshed: int = 0
    ended: bool = False
    models: list[model_pb2.Model] = field(default_factory=list)
    tools: list[tool_pb2.Tool] = field(default_factory=list)
    permissions: tuple[str, ...] = ()
    stated: str = ""
    one_time: bool = False
    auth: ScriptedAuth = field(default_factory=ScriptedAuth)
    library: ConversationLibrary | None = None

    async def Chat(
        self, request: chat_pb2.ChatRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[chat_pb2.ChatResponse]:
        await self._check(context)
        self.requests.append(request)
        question = request.messages[-1].content[-1].text
        sequence, said = 0, Transcript()
        try:
            async for fields in self.scripts[question](self):
                sequence += 1
                event = chat_pb2.ChatEvent(sequence=sequence, **fields)
                said.add(event)
                if event.HasField("finished") and request.continue_conversation:
                    await self._store(request, said)
                yield chat_pb2.ChatResponse(event=event)
        except asyncio.CancelledError:
            self.cancelled.put_nowait(question)
            raise

    def forget_cancelled(self) -> None:
        """Forget the calls that were cancelled so far."""
        while not self.cancelled.empty():
            self.cancelled.get_nowait()

    async def _store(self, request: chat_pb2.ChatRequest, said: Transcript) -> None:
        assert self.library is not None
        spoken = [NewMessage(message, RUN_ID, "parley-demo") for message in said.messages]
        messages = [*map(NewMessage, request.messages), *spoken]
        await self.library.append(OWNER, request.conversation_id, messages, "")

    async def DecideApproval(
        self, request: inference_service_pb2.DecideApprovalRequest, context: grpc.aio.ServicerContext
    ) -> inference_service_pb2.DecideApprovalResponse:
        await self._check(context)
        if self.refusal is not None:
            await context.abort_with_status(rpc_status.to_status(self.refusal))
        assert request.run_id == RUN_ID
        self.decisions.put_nowait(request.decision)
        return inference_service_pb2.DecideApprovalResponse()

    async def ListModels(
        self, request: inference_service_pb2.ListModelsRequest, context: grpc.aio.ServicerContext
    ) -> inference_service_pb2.ListModelsResponse:
        await self._check(context)
        return inference_service_pb2.ListModelsResponse(models=self.models)

    async def GetModel(
        self, request: inference_service_pb2.GetModelRequest, context: grpc.aio.ServicerContext
    ) -> inference_service_pb2.GetModelResponse:
        await self._check(context)
        return next(told for told in served() if told.model.name == request.name)

    async def GetStats(
        self, request: tool_service_pb2.GetStatsRequest, context: grpc.aio.ServicerContext
    ) -> tool_service_pb2.GetStatsResponse:
        await self._check(context)
        return self.auth.stats

    async def ListTools(
        self, request: tool_service_pb2.ListToolsRequest, context: grpc.aio.ServicerContext
    ) -> tool_service_pb2.ListToolsResponse:
        await self._check(context)
        return tool_service_pb2.ListToolsResponse(tools=self.tools)

    async def Execute(
        self, request: tool_service_pb2.ExecuteRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[tool_service_pb2.ExecuteResponse]:
        await self._check(context)
        self.calls.append(request.call)
        sequence = 0
        try:
            async for event in self.tool_scripts[request.call.tool](self):
                if "status" in event:
                    await context.abort_with_status(rpc_status.to_status(event["status"]))
                sequence += 1
                told = execution_pb2.ToolEvent(call_id=request.call.call_id, sequence=sequence, **event)
                yield tool_service_pb2.ExecuteResponse(event=told)
        except asyncio.CancelledError:
            self.cancelled.put_nowait(request.call.tool)
            raise

    async def Login(
        self, request: session_service_pb2.LoginRequest, context: grpc.aio.ServicerContext
    ) -> session_service_pb2.LoginResponse:
        self.stated = _stated(context)
        if request.password != PASSWORD:
            await _refuse(context, "The user name or the password is wrong.", "CREDENTIALS_INVALID")
        return session_service_pb2.LoginResponse(tokens=self._pair(), must_change_password=self.one_time)

    async def Refresh(
        self, request: session_service_pb2.RefreshRequest, context: grpc.aio.ServicerContext
    ) -> session_service_pb2.RefreshResponse:
        self.stated = _stated(context)
        if self.ended or request.refresh_token != f"refresh-{self.refreshed}":
            await _refuse(context, "The refresh token is not good.", "REFRESH_TOKEN_INVALID")
        self.refreshed += 1
        return session_service_pb2.RefreshResponse(tokens=self._pair())

    async def WhoAmI(
        self, request: session_service_pb2.WhoAmIRequest, context: grpc.aio.ServicerContext
    ) -> session_service_pb2.WhoAmIResponse:
        await self._check(context)
        return who_is(self.permissions)

    async def Logout(
        self, request: session_service_pb2.LogoutRequest, context: grpc.aio.ServicerContext
    ) -> session_service_pb2.LogoutResponse:
        await self._check(context)
        await self.auth.enter(request, context)
        return session_service_pb2.LogoutResponse()

    async def EndSessions(
        self, request: session_service_pb2.EndSessionsRequest, context: grpc.aio.ServicerContext
    ) -> session_service_pb2.EndSessionsResponse:
        await self._check(context)
        return await self.auth.EndSessions(request, context)

    def _pair(self) -> session_service_pb2.TokenPair:
        return session_service_pb2.TokenPair(
            access_token=f"access-{self.refreshed}",
            refresh_token=f"refresh-{self.refreshed}",
            expires_in=seconds(self.token_seconds),
            refresh_expires_in=seconds(86_400),
        )

    async def _check(self, context: grpc.aio.ServicerContext) -> None:
        self.stated = _stated(context)
        bearer = dict(context.invocation_metadata() or ()).get("authorization")
        if self.ended or bearer != f"Bearer access-{self.refreshed}":
            await _refuse(context, "The token is not good.", "TOKEN_INVALID")


def _stated(context: grpc.aio.ServicerContext) -> str:
    return str(dict(context.invocation_metadata() or ()).get("x-forwarded-for", ""))


async def _refuse(context: grpc.aio.ServicerContext, message: str, reason: str) -> None:
    await context.abort_with_status(
        rpc_status.to_status(status(grpc.StatusCode.UNAUTHENTICATED, message, reason))
    )


def seconds(value: float) -> duration_pb2.Duration:
    """A duration."""
    duration = duration_pb2.Duration()
    duration.FromTimedelta(timedelta(seconds=value))
    return duration


class Rollouts(ScriptedRollouts):
    """Those of the administration, and what people think of answers."""

    def __init__(self, edge: ScriptedEdge) -> None:
        super().__init__(edge.auth)
        self._edge = edge

    async def GiveFeedback(
        self, request: rollout_service_pb2.GiveFeedbackRequest, context: grpc.aio.ServicerContext
    ) -> rollout_service_pb2.GiveFeedbackResponse:
        if self._edge.refusal is not None:
            await context.abort_with_status(rpc_status.to_status(self._edge.refusal))
        self._edge.verdicts.append(request)
        return rollout_service_pb2.GiveFeedbackResponse()


class AsOwner(grpc.aio.ServerInterceptor):
    """Makes every call one of the same person's."""

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        now = datetime.now(UTC)
        principal = Principal(
            OWNER.user_id, "ada", OWNER.tenant_id, (), frozenset({"*"}), "session-1", "", RUN_ID, now, ""
        )
        enter_call(Call("request-1", details.method, principal=principal))
        return await continuation(details)


async def serve(edge: ScriptedEdge, files: TlsFiles) -> tuple[grpc.aio.Server, str]:
    """Start it; gives the server and its address."""
    server = grpc.aio.server(interceptors=[AsOwner()])
    if edge.library is not None:
        conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server(
            ConversationServicer(edge.library, PageTokens()), server
        )
    inference_service_pb2_grpc.add_InferenceServiceServicer_to_server(edge, server)
    rollout_service_pb2_grpc.add_RolloutServiceServicer_to_server(Rollouts(edge), server)
    tool_service_pb2_grpc.add_ToolServiceServicer_to_server(edge, server)
    session_service_pb2_grpc.add_SessionServiceServicer_to_server(edge, server)
    health_pb2_grpc.add_HealthServicer_to_server(ScriptedHealth(edge.auth), server)
    edge.auth.add_to(server)
    pair = (files.private_key.read_bytes(), files.certificate.read_bytes())
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    return server, f"127.0.0.1:{port}"


def started(tools: tuple[str, ...] = ("calculator",), variant: str = "") -> dict[str, Any]:
    """The first event."""
    return {
        "started": chat_pb2.ChatStarted(
            run_id=RUN_ID, model="parley-demo", prompt_tokens=42, tools=tools, variant=variant
        )
    }


def thought(text: str) -> dict[str, Any]:
    """More reasoning."""
    return {"reasoning_delta": chat_pb2.ReasoningDelta(text=text)}


def said(text: str) -> dict[str, Any]:
    """More of the answer."""
    return {"content_delta": chat_pb2.ContentDelta(text=text)}


def called(call_id: str, name: str, arguments: str, tool_round: int = 1) -> dict[str, Any]:
    """A call that starts."""
    call = message_pb2.ToolCall(id=call_id, name=name, arguments=arguments)
    return {"tool_call": chat_pb2.ToolCallReady(call=call, round=tool_round)}


def needs_approval(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    """A call that waits."""
    needed = chat_pb2.ApprovalNeeded(
        call=message_pb2.ToolCall(id=call_id, name=name, arguments=arguments),
        round=1,
        safety_level=tool_pb2.SAFETY_LEVEL_DANGEROUS,
        permission=f"tools.utility.{name}",
    )
    needed.expire_time.FromSeconds(1_795_800_000)
    return {"approval_needed": needed}


def decided(call_id: str, outcome: chat_pb2.ApprovalOutcome.ValueType, note: str = "") -> dict[str, Any]:
    """What became of a call that waited."""
    return {"approval_decided": chat_pb2.ApprovalDecided(call_id=call_id, outcome=outcome, note=note)}


def progressed(call_id: str, message: str, fraction: float | None = None) -> dict[str, Any]:
    """How far a call is."""
    return {"tool_progress": chat_pb2.ToolCallProgress(call_id=call_id, message=message, fraction=fraction)}


def returned(call_id: str, name: str, content: str, error: status_pb2.Status | None = None) -> dict[str, Any]:
    """A call's end."""
    result = chat_pb2.ToolCallResult(
        call_id=call_id, name=name, content=content, error=error, duration=seconds(0.012)
    )
    return {"tool_result": result}


def used(prompt: int = 142, completion: int = 58, cached: int = 0) -> dict[str, Any]:
    """Usage so far."""
    usage = chat_pb2.Usage(
        prompt_tokens=prompt, completion_tokens=completion, cached_prompt_tokens=cached, turns=1
    )
    return {"usage": usage}


def finished(
    reason: chat_pb2.FinishReason = chat_pb2.FINISH_REASON_STOP, error: status_pb2.Status | None = None
) -> dict[str, Any]:
    """The last event."""
    return {"finished": chat_pb2.ChatFinished(reason=reason, error=error)}
