"""A real gRPC server over TLS that answers as the platform would, without anything behind it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import any_pb2, descriptor_pool, duration_pb2, message_factory
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from parley.auth.v1 import key_service_pb2, session_service_pb2
from parley.auth.v1.key_service_pb2_grpc import KeyServiceServicer, add_KeyServiceServicer_to_server
from parley.auth.v1.session_service_pb2_grpc import (
    SessionServiceServicer,
    add_SessionServiceServicer_to_server,
)
from parley.inference.v1 import (
    chat_pb2,
    converse_pb2,
    inference_service_pb2,
    message_pb2,
    model_pb2,
)
from parley.inference.v1.inference_service_pb2_grpc import (
    InferenceServiceServicer,
    add_InferenceServiceServicer_to_server,
)
from parley.tools.v1 import execution_pb2, stats_pb2, tool_pb2, tool_service_pb2
from parley.tools.v1.tool_service_pb2_grpc import ToolServiceServicer, add_ToolServiceServicer_to_server
from parley_client.errors import DETAILS_KEY
from services.rpc.tls import TlsFiles
from tests.client.toy_cuts import said

PASSWORD = "open sesame"
RUN_ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
KEY_ID = "01ARZ3NDEKTSV4RRFFQ69G5FAW"
SERVING = health_pb2.HealthCheckResponse.SERVING


def failure(code: int, reason: str, message: str, *more: Any, **metadata: str) -> status_pb2.Status:
    """A status with the details that the platform sends."""
    details = [error_details_pb2.ErrorInfo(reason=reason, domain="test.parley", metadata=metadata), *more]
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code, message=message, details=packed)


def calculator_answer(text: str = "17 * 23 is 391.") -> list[chat_pb2.ChatEvent]:
    """The events of an answer that used one tool."""
    call = message_pb2.ToolCall(id="c1", name="calculator", arguments='{"expression": "17 * 23"}')
    took = duration_pb2.Duration(nanos=3_000_000)
    result = chat_pb2.ToolCallResult(call_id="c1", name="calculator", content='{"result":391}', duration=took)
    return [
        chat_pb2.ChatEvent(started=chat_pb2.ChatStarted(run_id=RUN_ID, model="toy", prompt_tokens=7)),
        chat_pb2.ChatEvent(reasoning_delta=chat_pb2.ReasoningDelta(text="It needs\n")),
        chat_pb2.ChatEvent(reasoning_delta=chat_pb2.ReasoningDelta(text="a calculator.")),
        chat_pb2.ChatEvent(tool_call_delta=chat_pb2.ToolCallDelta(id="c1", name="calculator")),
        chat_pb2.ChatEvent(tool_call=chat_pb2.ToolCallReady(call=call, round=1)),
        chat_pb2.ChatEvent(
            tool_progress=chat_pb2.ToolCallProgress(call_id="c1", fraction=0.5, message="half")
        ),
        chat_pb2.ChatEvent(tool_result=result),
        *(
            chat_pb2.ChatEvent(content_delta=chat_pb2.ContentDelta(text=part))
            for part in (text[:4], text[4:])
        ),
        chat_pb2.ChatEvent(usage=chat_pb2.Usage(prompt_tokens=30, completion_tokens=12, turns=2)),
        chat_pb2.ChatEvent(finished=chat_pb2.ChatFinished(reason=chat_pb2.FINISH_REASON_STOP)),
    ]


@dataclass
class ToyPlatform:
    """What the platform shall answer, and what it was asked."""

    events: list[chat_pb2.ChatEvent] = field(default_factory=calculator_answer)
    hang: bool = False
    """Whether a chat goes on for ever after its events."""
    cuts: list[int] = field(default_factory=list)
    """Numbers of events after which the stream of a chat is cut, each once."""
    failures: dict[str, status_pb2.Status] = field(default_factory=dict)
    """Method name to the status that it fails with."""
    lapses: int = 0
    """Calls that the platform is unavailable for before it answers."""
    unavailable: str = ""
    """Why its tool is off."""
    permissions: tuple[str, ...] = ("*",)
    """What the caller's token permits."""
    answers: dict[str, Any] = field(default_factory=dict)
    """Method name to what is answered, of the services that have no servicer here."""
    token_seconds: int = 900
    must_change_password: bool = False
    requests: list[Any] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    """Of the last call."""
    chat_ended: threading.Event = field(default_factory=threading.Event)
    refreshed: list[str] = field(default_factory=list)
    exchanged: list[str] = field(default_factory=list)
    health: dict[str, int] = field(default_factory=dict)
    address: str = ""

    async def enter(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Notes a call, and fails it where it shall fail."""
        self.requests.append(request)
        self.metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
        status = self.failures.get(type(request).__name__.removesuffix("Request"))
        if status is not None:
            await fail(context, status)
        if self.lapses:
            self.lapses -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no healthy upstream")

    def sent(self, events: Iterable[chat_pb2.ChatEvent]) -> list[chat_pb2.ChatEvent]:
        """The events as they go out: numbered from 1."""
        numbered = []
        for sequence, event in enumerate(events, 1):
            numbered.append(chat_pb2.ChatEvent.FromString(event.SerializeToString()))
            numbered[-1].sequence = sequence
        return numbered


async def fail(context: grpc.aio.ServicerContext[Any, Any], status: status_pb2.Status) -> None:
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    await context.abort(code, status.message, ((DETAILS_KEY, status.SerializeToString()),))


class Administered(grpc.GenericRpcHandler):
    """Every method that no servicer has: answers what the toy was told to, or nothing."""

    def __init__(self, toy: ToyPlatform) -> None:
        self.toy = toy

    def service(self, details: Any) -> Any:
        """The handler of whichever method is called."""
        service, _, name = details.method.lstrip("/").rpartition("/")
        method = descriptor_pool.Default().FindServiceByName(service).FindMethodByName(name)
        empty = message_factory.GetMessageClass(method.output_type)

        async def answer(request: Any, context: Any) -> Any:
            await self.toy.enter(request, context)
            return self.toy.answers.get(name, empty())

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )


class Inference(InferenceServiceServicer):
    def __init__(self, toy: ToyPlatform) -> None:
        self.toy = toy

    async def Chat(self, request: Any, context: Any) -> AsyncIterator[chat_pb2.ChatResponse]:
        await self.toy.enter(request, context)
        try:
            async for event in said(self.toy.sent(self.toy.events), self.toy.cuts, request, context):
                yield chat_pb2.ChatResponse(event=event)
            if self.toy.hang:
                await asyncio.Event().wait()
        finally:
            self.toy.chat_ended.set()

    async def Resume(self, request: Any, context: Any) -> AsyncIterator[inference_service_pb2.ResumeResponse]:
        await self.toy.enter(request, context)
        async for event in said(self.toy.sent(self.toy.events), self.toy.cuts, request, context):
            yield inference_service_pb2.ResumeResponse(event=event)

    async def Converse(
        self, request_iterator: Any, context: Any
    ) -> AsyncIterator[converse_pb2.ConverseResponse]:
        number = 0
        async for request in request_iterator:
            await self.toy.enter(request, context)
            number += 1
            if request.HasField("user_turn"):
                for event in self.toy.sent(self.toy.events):
                    yield converse_pb2.ConverseResponse(message_number=number, event=event)

    async def SubmitToolResult(
        self, request: Any, context: Any
    ) -> inference_service_pb2.SubmitToolResultResponse:
        await self.toy.enter(request, context)
        return inference_service_pb2.SubmitToolResultResponse()

    async def DecideApproval(
        self, request: Any, context: Any
    ) -> inference_service_pb2.DecideApprovalResponse:
        await self.toy.enter(request, context)
        return inference_service_pb2.DecideApprovalResponse()

    async def Cancel(self, request: Any, context: Any) -> inference_service_pb2.CancelResponse:
        await self.toy.enter(request, context)
        return inference_service_pb2.CancelResponse()

    async def PurgeCache(self, request: Any, context: Any) -> inference_service_pb2.PurgeCacheResponse:
        await self.toy.enter(request, context)
        return inference_service_pb2.PurgeCacheResponse(deleted_turns=3)

    async def ListModels(self, request: Any, context: Any) -> inference_service_pb2.ListModelsResponse:
        await self.toy.enter(request, context)
        name, following = ("second", "") if request.page_token else ("first", "next")
        model = model_pb2.Model(
            name=name,
            context_length=1024,
            state=model_pb2.MODEL_STATE_READY,
            is_default=not request.page_token,
        )
        return inference_service_pb2.ListModelsResponse(models=[model], next_page_token=following)


def calculator_tool(unavailable: str) -> tool_pb2.Tool:
    """The only tool there is."""
    example = tool_pb2.ToolExample(title="Twice", arguments='{"expression":"2*3"}', result='{"result":6}')
    tool = tool_pb2.Tool(
        name="calculator",
        category=tool_pb2.CATEGORY_MATH,
        safety_level=tool_pb2.SAFETY_LEVEL_SAFE,
        description="Calculates.",
        parameters_schema='{"properties":{"expression":{"type":"string","maxLength":9,'
        '"description":"What to calculate."},"digits":{"anyOf":[{"type":"integer"},{"type":"null"}],'
        '"default":null}},"required":["expression"]}',
        permission="tools.math.calculator",
        max_output_bytes=1024,
        idempotent=True,
        examples=[example],
        unavailable=unavailable,
    )
    tool.timeout.FromSeconds(5)
    return tool


class Tools(ToolServiceServicer):
    def __init__(self, toy: ToyPlatform) -> None:
        self.toy = toy

    async def ListTools(self, request: Any, context: Any) -> tool_service_pb2.ListToolsResponse:
        await self.toy.enter(request, context)
        return tool_service_pb2.ListToolsResponse(tools=[calculator_tool(self.toy.unavailable)])

    async def GetTool(self, request: Any, context: Any) -> tool_service_pb2.GetToolResponse:
        await self.toy.enter(request, context)
        return tool_service_pb2.GetToolResponse(tool=calculator_tool(self.toy.unavailable))

    async def GetStats(self, request: Any, context: Any) -> tool_service_pb2.GetStatsResponse:
        await self.toy.enter(request, context)
        stats = stats_pb2.CallStats(
            calls=3,
            errors=[stats_pb2.ReasonCount(reason="TOOL_TIMEOUT", calls=1)],
            run_p50=duration_pb2.Duration(nanos=1_500_000),
            run_p95=duration_pb2.Duration(seconds=2),
        )
        return tool_service_pb2.GetStatsResponse(
            tools=[stats_pb2.ToolStats(tool="calculator", stats=stats)],
            callers=[stats_pb2.CallerStats(user_id="ada", stats=stats)],
            queue=stats_pb2.QueueStats(running=1, waiting=2),
        )

    async def ResetStats(self, request: Any, context: Any) -> tool_service_pb2.ResetStatsResponse:
        await self.toy.enter(request, context)
        return tool_service_pb2.ResetStatsResponse()

    async def Execute(self, request: Any, context: Any) -> AsyncIterator[tool_service_pb2.ExecuteResponse]:
        await self.toy.enter(request, context)
        for event in (
            execution_pb2.ToolEvent(started=execution_pb2.ToolStarted(tool=request.call.tool)),
            execution_pb2.ToolEvent(progress=execution_pb2.ToolProgress(message="at it")),
            execution_pb2.ToolEvent(output=execution_pb2.ToolOutput(text="noise")),
            execution_pb2.ToolEvent(result=execution_pb2.ToolResult(content='{"result":391}')),
        ):
            yield tool_service_pb2.ExecuteResponse(event=event)

    async def ExecuteMany(self, requests: Any, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the toy runs one call at a time")


class Keys(KeyServiceServicer):
    def __init__(self, toy: ToyPlatform) -> None:
        self.toy = toy

    async def CreateKey(self, request: Any, context: Any) -> key_service_pb2.CreateKeyResponse:
        await self.toy.enter(request, context)
        key = key_service_pb2.Key(key_id=KEY_ID, name=request.name, prefix="pk_abc", scopes=request.scopes)
        return key_service_pb2.CreateKeyResponse(key=key, secret="pk_abc_secret")

    async def ListKeys(self, request: Any, context: Any) -> key_service_pb2.ListKeysResponse:
        await self.toy.enter(request, context)
        live = key_service_pb2.Key(key_id=KEY_ID, name="ci", prefix="pk_abc")
        dead = key_service_pb2.Key(key_id=RUN_ID, name="old", prefix="pk_old", scopes=["inference.*"])
        for stamp in (dead.revoke_time, dead.expire_time, dead.last_use_time):
            stamp.FromJsonString("2026-01-02T00:00:00Z")
        return key_service_pb2.ListKeysResponse(keys=[live, dead])

    async def ExchangeKey(self, request: Any, context: Any) -> key_service_pb2.ExchangeKeyResponse:
        self.toy.exchanged.append(request.secret)
        life = duration_pb2.Duration(seconds=self.toy.token_seconds)
        return key_service_pb2.ExchangeKeyResponse(access_token=f"of-{request.secret}", expires_in=life)

    async def RevokeKey(self, request: Any, context: Any) -> key_service_pb2.RevokeKeyResponse:
        await self.toy.enter(request, context)
        return key_service_pb2.RevokeKeyResponse(key=key_service_pb2.Key(key_id=request.key_id, name="ci"))

    async def RotateKey(self, request: Any, context: Any) -> key_service_pb2.RotateKeyResponse:
        await self.toy.enter(request, context)
        return key_service_pb2.RotateKeyResponse(
            key=key_service_pb2.Key(key_id=KEY_ID), secret="pk_new_secret"
        )


class Sessions(SessionServiceServicer):
    def __init__(self, toy: ToyPlatform) -> None:
        self.toy = toy

    def _pair(self, name: str) -> session_service_pb2.TokenPair:
        return session_service_pb2.TokenPair(
            access_token=f"access-{name}",
            refresh_token=f"refresh-{name}",
            expires_in=duration_pb2.Duration(seconds=self.toy.token_seconds),
        )

    async def Login(self, request: Any, context: Any) -> session_service_pb2.LoginResponse:
        await self.toy.enter(request, context)
        if request.password != PASSWORD:
            await fail(context, failure(code_pb2.UNAUTHENTICATED, "CREDENTIALS_INVALID", "Wrong."))
        return session_service_pb2.LoginResponse(
            tokens=self._pair(request.username), must_change_password=self.toy.must_change_password
        )

    async def Refresh(self, request: Any, context: Any) -> session_service_pb2.RefreshResponse:
        await self.toy.enter(request, context)
        self.toy.refreshed.append(request.refresh_token)
        self.toy.token_seconds = 900
        return session_service_pb2.RefreshResponse(tokens=self._pair(f"new{len(self.toy.refreshed)}"))

    async def WhoAmI(self, request: Any, context: Any) -> session_service_pb2.WhoAmIResponse:
        await self.toy.enter(request, context)
        return session_service_pb2.WhoAmIResponse(username="ada", permissions=self.toy.permissions)

    async def Logout(self, request: Any, context: Any) -> session_service_pb2.LogoutResponse:
        await self.toy.enter(request, context)
        return session_service_pb2.LogoutResponse()

    async def ListSessions(self, request: Any, context: Any) -> session_service_pb2.ListSessionsResponse:
        await self.toy.enter(request, context)
        session = session_service_pb2.Session(session_id=RUN_ID, address="192.0.2.1", current=True)
        return session_service_pb2.ListSessionsResponse(sessions=[session])

    async def EndSession(self, request: Any, context: Any) -> session_service_pb2.EndSessionResponse:
        await self.toy.enter(request, context)
        return session_service_pb2.EndSessionResponse()

    async def EndSessions(self, request: Any, context: Any) -> session_service_pb2.EndSessionsResponse:
        await self.toy.enter(request, context)
        return session_service_pb2.EndSessionsResponse(ended_sessions=3)

    async def GetJwks(self, request: Any, context: Any) -> session_service_pb2.GetJwksResponse:
        return session_service_pb2.GetJwksResponse()


class RunningPlatform:
    """A toy on a thread of its own, so that a command may run its own event loop."""

    def __init__(self, tls: TlsFiles) -> None:
        self.toy = ToyPlatform()
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="toy platform")

    def __enter__(self) -> ToyPlatform:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self.toy

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(0), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        material = self._tls.read()
        self._server = grpc.aio.server()
        credentials = grpc.ssl_server_credentials([(material.private_key, material.certificate)])
        self.toy.address = f"localhost:{self._server.add_secure_port('127.0.0.1:0', credentials)}"
        add_InferenceServiceServicer_to_server(Inference(self.toy), self._server)
        add_ToolServiceServicer_to_server(Tools(self.toy), self._server)
        add_KeyServiceServicer_to_server(Keys(self.toy), self._server)
        add_SessionServiceServicer_to_server(Sessions(self.toy), self._server)
        self._server.add_generic_rpc_handlers((Administered(self.toy),))
        record = health.aio.HealthServicer()
        for service in ("parley.auth.v1.SessionService", "parley.tools.v1.ToolService"):
            await record.set(service, SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(record, self._server)
        await self._server.start()
