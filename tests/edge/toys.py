"""Small servicers of the real contracts, for Envoy to stand in front of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict

from parley.auth.v1 import audit_pb2, session_service_pb2, session_service_pb2_grpc
from parley.edge import access_log_pb2_grpc, external_auth_pb2, external_auth_pb2_grpc
from parley.inference.v1 import (
    chat_pb2,
    converse_pb2,
    inference_service_pb2,
    inference_service_pb2_grpc,
)
from parley.tools.v1 import tool_pb2, tool_service_pb2, tool_service_pb2_grpc
from services.auth.edge_refusals import EdgeRefusalServicer
from services.auth.edge_servicer import admission, denial
from services.auth.errors import KeyAddressNotAllowed, KeyInvalid
from services.rpc.call import current_call, current_principal
from services.rpc.errors import InvalidRequest, Overloaded
from services.rpc.quota_errors import BudgetExhausted, Refused, rate_headers
from tests.conftest import TokenMaker

OVER_QUOTA = Refused("user/ada", "tokens_per_day", 1000, 3, timedelta(seconds=90), "inference.parley")
GOOD_KEY = "parley_good"
HUNG_KEY = "parley_hung"


@dataclass
class Seen:
    """What a servicer saw of its calls.

    Attributes:
        metadata: Metadata of the last call.
        calls: Calls so far.
        waiting: Set while a call waits to be cancelled.
        cancelled: Set when such a call was.
    """

    metadata: list[tuple[str, str | bytes]] = field(default_factory=list)
    calls: int = 0
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, context: Any) -> None:
        self.calls += 1
        self.metadata = list(context.invocation_metadata() or ())

    def header(self, name: str) -> str | bytes | None:
        """The last value of a header of the last call."""
        return dict(self.metadata).get(name)

    async def wait(self) -> None:
        """Wait until the call is cancelled."""
        self.cancelled.clear()
        self.waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting.clear()
            self.cancelled.set()


class ToySessions(session_service_pb2_grpc.SessionServiceServicer):
    def __init__(self, tokens: TokenMaker, seen: Seen) -> None:
        self._tokens = tokens
        self._seen = seen

    async def Login(self, request: Any, context: Any) -> session_service_pb2.LoginResponse:
        self._seen.note(context)
        token = self._tokens.token(self._tokens.principal("*", username=request.username))
        return session_service_pb2.LoginResponse(tokens={"access_token": token})

    async def WhoAmI(self, request: Any, context: Any) -> session_service_pb2.WhoAmIResponse:
        self._seen.note(context)
        principal = current_principal()
        return session_service_pb2.WhoAmIResponse(username=principal.username, key_id=principal.key_id)

    async def GetJwks(self, request: Any, context: Any) -> session_service_pb2.GetJwksResponse:
        keys = self._tokens.keys.as_dict(private=False)
        return ParseDict(dict(keys), session_service_pb2.GetJwksResponse(), ignore_unknown_fields=True)


@dataclass(frozen=True)
class ToyKey:
    """A key that the toy exchange takes.

    Attributes:
        username: Whose it is.
        key_id: Its id.
        seconds: For how long the edge may use the answer again.
        addresses: Where it may be used from; empty means anywhere.
    """

    username: str
    key_id: str
    seconds: float = 0.0
    addresses: tuple[str, ...] = ()


class ToyKeyExchange(external_auth_pb2_grpc.AuthorizationServicer):
    """Knows a few keys; another one hangs; the rest are refused as the auth service does.

    Attributes:
        keys: The keys that it takes.
    """

    def __init__(self, tokens: TokenMaker, seen: Seen) -> None:
        self._tokens = tokens
        self.seen = seen
        self.keys = {GOOD_KEY: ToyKey("keyholder", "key-1")}

    async def Check(self, request: Any, context: Any) -> external_auth_pb2.CheckResponse:
        self.seen.note(context)
        headers = request.attributes.request.http.headers
        self.asked = dict(headers)
        self.path = request.attributes.request.http.path
        presented = headers.get("x-parley-key", "")
        if presented == HUNG_KEY:
            await self.seen.wait()
        key = self.keys.get(presented)
        if key is None:
            return denial(KeyInvalid().to_status())
        address = headers["x-parley-client-address"]
        if key.addresses and address not in key.addresses:
            return denial(KeyAddressNotAllowed(address).to_status())
        principal = self._tokens.principal("*", username=key.username, key_id=key.key_id)
        return admission(self._tokens.token(principal), key.seconds)


class ToldRefusals:
    """Keeps what the edge tells of its refusals."""

    def __init__(self) -> None:
        self.events: list[audit_pb2.AuditEvent] = []

    def admit(self) -> None:
        """Never full."""

    def record(self, event: audit_pb2.AuditEvent) -> None:
        self.events.append(event)


class ToyInference(inference_service_pb2_grpc.InferenceServiceServicer):
    """Answers with its pool's name; the question's text says how to behave."""

    def __init__(self, pool: str, seen: Seen) -> None:
        self._pool = pool
        self._seen = seen

    async def Chat(self, request: Any, context: Any) -> AsyncIterator[chat_pb2.ChatResponse]:
        self._seen.note(context)
        text = request.messages[0].content[0].text
        if text == "overloaded":
            raise Overloaded("Too much at once.")
        if text == "over quota":
            raise BudgetExhausted(OVER_QUOTA)
        if text == "within quota":
            await context.send_initial_metadata(rate_headers(100, 7, timedelta(seconds=30)))
        yield chat_pb2.ChatResponse(event={"sequence": 1, "started": {"model": self._pool}})
        if text == "wait":
            await self._seen.wait()
        if text == "overloaded later":
            raise Overloaded("Too much at once.")
        for number, word in enumerate(text.split(), start=2):
            yield chat_pb2.ChatResponse(event={"sequence": number, "content_delta": {"text": word}})
        yield chat_pb2.ChatResponse(event={"finished": {"reason": chat_pb2.FINISH_REASON_STOP}})

    async def Converse(
        self, requests: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[converse_pb2.ConverseResponse]:
        self._seen.note(context)
        async for _ in requests:
            yield converse_pb2.ConverseResponse(event={"started": {"model": self._pool}})

    async def Cancel(self, request: Any, context: Any) -> inference_service_pb2.CancelResponse:
        self._seen.note(context)
        raise InvalidRequest(f"run {request.run_id} at peer {current_call().peer}")

    async def ListModels(self, request: Any, context: Any) -> inference_service_pb2.ListModelsResponse:
        self._seen.note(context)
        return inference_service_pb2.ListModelsResponse(models=[{"name": self._pool}])


class ToyTools(tool_service_pb2_grpc.ToolServiceServicer):
    """Echoes."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    async def ListTools(self, request: Any, context: Any) -> tool_service_pb2.ListToolsResponse:
        self._seen.note(context)
        return tool_service_pb2.ListToolsResponse(tools=[tool_pb2.Tool(name="echo")])

    async def ExecuteMany(
        self, requests: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[tool_service_pb2.ExecuteManyResponse]:
        self._seen.note(context)
        async for request in requests:
            event = {"call_id": request.call.call_id, "result": {"content": request.call.arguments}}
            yield tool_service_pb2.ExecuteManyResponse(event=event)


def add_auth(server: Any, tokens: TokenMaker, seen: Seen) -> ToyKeyExchange:
    """Add what the auth service answers."""
    exchange = ToyKeyExchange(tokens, Seen())
    server.add(session_service_pb2_grpc.add_SessionServiceServicer_to_server, ToySessions(tokens, seen))
    server.add(external_auth_pb2_grpc.add_AuthorizationServicer_to_server, exchange)
    return exchange


def add_refusals(server: Any) -> ToldRefusals:
    """Add what takes the edge's refusals."""
    told = ToldRefusals()
    servicer = EdgeRefusalServicer(told, server.stopping)
    server.add(access_log_pb2_grpc.add_AccessLogServiceServicer_to_server, servicer)
    return told


def add_inference(server: Any, pool: str, seen: Seen) -> None:
    """Add what an inference replica answers."""
    server.add(inference_service_pb2_grpc.add_InferenceServiceServicer_to_server, ToyInference(pool, seen))


def add_tools(server: Any, seen: Seen) -> None:
    """Add what the tools service answers."""
    server.add(tool_service_pb2_grpc.add_ToolServiceServicer_to_server, ToyTools(seen))


def chat_request(text: str) -> chat_pb2.ChatRequest:
    """A question of one message."""
    return chat_pb2.ChatRequest(messages=[{"role": "ROLE_USER", "content": [{"text": text}]}])


async def everything(call: grpc.aio.UnaryStreamCall[Any, Any]) -> list[Any]:
    """All messages of a stream."""
    return [message async for message in call]
