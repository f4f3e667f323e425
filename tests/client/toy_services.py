"""The toy platform's services: each answers as the platform's own would, with nothing behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf import descriptor_pool, duration_pb2, message_factory
from google.rpc import code_pb2

from parley.auth.v1 import key_service_pb2, session_service_pb2
from parley.auth.v1.key_service_pb2_grpc import KeyServiceServicer
from parley.auth.v1.session_service_pb2_grpc import SessionServiceServicer
from parley.inference.v1 import chat_pb2, converse_pb2, inference_service_pb2, model_pb2
from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceServicer
from parley.tools.v1 import execution_pb2, stats_pb2, tool_pb2, tool_service_pb2
from parley.tools.v1.tool_service_pb2_grpc import ToolServiceServicer
from tests.client.toy_cuts import said
from tests.client.toy_platform import KEY_ID, PASSWORD, RUN_ID, ToyPlatform, fail, failure


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
            events, toy = self.toy.sent(self.toy.events), self.toy
            async for event in said(events, toy.cuts, request, context, toy.cut_as):
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
                    if self.toy.cuts == [event.sequence]:
                        await context.abort(self.toy.cut_as, "connection reset")
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
