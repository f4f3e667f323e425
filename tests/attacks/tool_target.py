"""What is attacked: the real edge before the real tools service, with its workers, sandbox and sources."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import psutil

from parley.tools.v1 import execution_pb2, tool_service_pb2, workspace_service_pb2
from parley.tools.v1.tool_service_pb2_grpc import ToolServiceStub
from parley.tools.v1.workspace_service_pb2_grpc import WorkspaceServiceStub
from parley_client.errors import from_rpc_error, from_status
from tests.attacks.target import Person, Target
from tests.tools.builtin.web.conftest import Site

CALL_SECONDS = 60
CANARY = "c4n4ry-of-the-host"
"""Stands wherever no tool may get: in the environment, in files outside, in the passwords of sources."""

OK = "OK"


@dataclass(frozen=True)
class Outcome:
    """How a call ended.

    Attributes:
        code: Canonical status code.
        reason: The error's reason. Where a program in the sandbox ended badly, the error that it met;
            where a verdict was asked for, `NOT_VALID`.
        told: All that the caller was told.
        request_id: Names it in the audit.
        result: Its result.
    """

    code: str
    reason: str = ""
    told: str = ""
    request_id: str = ""
    result: Any = field(default_factory=dict)


@dataclass
class ToolTarget:
    """The platform under attack.

    Attributes:
        platform: The edge, the people, and what is asked of auth.
        channel: Leads to the edge.
        service: The process of the tools service.
        workspaces: Where it keeps the workspaces.
        outside: A folder beside them, which no tool may reach.
        site: A web server on an address that the operator opened.
        struck: How the attacks ended so far.
    """

    platform: Target
    channel: grpc.aio.Channel
    service: psutil.Process
    workspaces: Path
    outside: Path
    site: Site
    struck: list[Outcome] = field(default_factory=list)

    @property
    def tools(self) -> Any:
        return ToolServiceStub(self.channel)

    @property
    def files(self) -> Any:
        return WorkspaceServiceStub(self.channel)

    def person(self, name: str) -> Person:
        return self.platform.people[name]

    def workspace(self, person: Person, conversation: str = "") -> Path:
        """The folder of a person's workspace, or of a conversation in it."""
        home = self.workspaces / person.tenant_id / person.user_id
        return home / "conversations" / conversation if conversation else home

    async def planted(self, who: str, plant: Callable[[Path], None]) -> str:
        """A new conversation in whose folder something was planted."""
        conversation = f"talk-{uuid4().hex[:8]}"
        made = await self.call("file_list", {}, who, conversation_id=conversation)
        assert made.code == OK, made
        plant(self.workspace(self.person(who), conversation))
        return conversation

    async def call(
        self, tool: str, arguments: Any, who: str = "user", *, seconds: float | None = None, **fields: Any
    ) -> Outcome:
        """How a call of a tool ends; arguments that are text are sent as they are."""
        return await self.execute(self.person(who).headers, invocation(tool, arguments, seconds, **fields))

    async def execute(self, headers: dict[str, str], call: execution_pb2.ToolInvocation) -> Outcome:
        """How a call ends for whoever has these headers."""
        request = tool_service_pb2.ExecuteRequest(call=call)
        stream = self.tools.Execute(request, metadata=tuple(headers.items()), timeout=CALL_SECONDS)
        return await _ended(stream, lambda answer: answer.event)

    async def many(
        self, who: str, requests: Sequence[tool_service_pb2.ExecuteManyRequest]
    ) -> dict[str, Outcome]:
        """How each call of a stream ends; under the empty id how the stream does."""

        async def asked() -> AsyncIterator[tool_service_pb2.ExecuteManyRequest]:
            for request in requests:
                yield request

        metadata = tuple(self.person(who).headers.items())
        stream = self.tools.ExecuteMany(asked(), metadata=metadata, timeout=CALL_SECONDS)
        ended: dict[str, Outcome] = {}
        try:
            async for answer in stream:
                event = answer.event
                # Of two calls with one id, the one that is refused is told first.
                if event.WhichOneof("event") in ("result", "error") and event.call_id not in ended:
                    ended[event.call_id] = _outcome(event, await _request_id(stream))
        except grpc.aio.AioRpcError as error:
            return {"": _refused(error)}
        return {**ended, "": Outcome(OK, request_id=await _request_id(stream))}

    async def asked(self, method: Any, request: Any, who: str) -> Outcome:
        """How a call of another method ends; the last answer of a stream."""
        metadata = tuple(self.person(who).headers.items())
        call = method(request, metadata=metadata, timeout=CALL_SECONDS)
        try:
            answers = [answer async for answer in call] if hasattr(call, "__aiter__") else [await call]
        except grpc.aio.AioRpcError as error:
            return _refused(error)
        told = "".join(str(answer) for answer in answers)
        return Outcome(OK, told=told, request_id=await _request_id(call), result=answers)

    async def upload(
        self, who: str, path: str, *pieces: bytes, header: bool = True, **fields: Any
    ) -> Outcome:
        """How an upload ends."""

        async def parts() -> AsyncIterator[workspace_service_pb2.UploadFileRequest]:
            if header:
                told = workspace_service_pb2.UploadHeader(path=path, **fields)
                yield workspace_service_pb2.UploadFileRequest(header=told)
            for piece in pieces:
                yield workspace_service_pb2.UploadFileRequest(data=piece)

        return await self.asked(self.files.UploadFile, parts(), who)

    async def key(self, who: str, *scopes: str) -> dict[str, str]:
        """The headers of a caller with a key that permits only this."""
        return {"x-api-key": (await self.platform.key(self.person(who), scopes=list(scopes)))["secret"]}

    async def newcomer(self, role: str = "user") -> str:
        """The name of a new person, whose workspace is empty."""
        person = await self.platform.newcomer(role)
        self.platform.people[person.username] = person
        return person.username


def invocation(
    tool: str, arguments: Any, seconds: float | None = None, call_id: str = "1", **fields: Any
) -> execution_pb2.ToolInvocation:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    call = execution_pb2.ToolInvocation(call_id=call_id, tool=tool, arguments=text, **fields)
    if seconds is not None:
        call.timeout.FromMilliseconds(int(1000 * seconds))
    return call


def asks(
    tool: str, arguments: Any, call_id: str, after: Sequence[str] = ()
) -> tool_service_pb2.ExecuteManyRequest:
    """What a client says on a stream to have a call run."""
    return tool_service_pb2.ExecuteManyRequest(call=invocation(tool, arguments, call_id=call_id, after=after))


async def _ended(stream: Any, event_of: Callable[[Any], execution_pb2.ToolEvent]) -> Outcome:
    try:
        events = [event_of(answer) async for answer in stream]
    except grpc.aio.AioRpcError as error:
        return _refused(error)
    return _outcome(events[-1], await _request_id(stream))


def _outcome(event: execution_pb2.ToolEvent, request_id: str) -> Outcome:
    if event.HasField("error"):
        error = from_status(event.error)
        return Outcome(error.code.name, error.reason, str(event.error), request_id)
    result = json.loads(event.result.content)
    return Outcome(OK, _verdict(result), event.result.content, request_id, result)


def _verdict(result: dict[str, Any]) -> str:
    """What a result says of what was asked; empty where it says that it went well."""
    if result.get("exit_status"):
        last = (result["stderr"].strip().splitlines() or [f"status {result['exit_status']}"])[-1]
        return str(last.partition(":")[0])
    return "NOT_VALID" if result.get("valid") is False else ""


def _refused(error: grpc.aio.AioRpcError) -> Outcome:
    told = from_rpc_error(error)
    metadata = {**dict(error.initial_metadata() or ()), **dict(error.trailing_metadata() or ())}
    request_id = str(metadata.get("x-request-id", ""))
    return Outcome(told.code.name, told.reason, f"{told} {told.metadata} {told.violations}", request_id)


async def _request_id(call: Any) -> str:
    return str(dict(await call.initial_metadata()).get("x-request-id", ""))


Deed = Callable[[ToolTarget], Awaitable[Outcome]]


@dataclass(frozen=True)
class ToolAttack:
    """One attack.

    Attributes:
        name: What it tries.
        strike: Does it.
        refusal: Code and reason that it must meet with.
        neighbour: Its legitimate neighbour, which must succeed.
    """

    name: str
    strike: Deed
    refusal: tuple[str, str]
    neighbour: Deed


def call(tool: str, who: str = "user", *, seconds: float | None = None, **arguments: Any) -> Deed:
    """Calls a tool."""

    async def deed(target: ToolTarget) -> Outcome:
        return await target.call(tool, arguments, who, seconds=seconds)

    return deed


def at_site(tool: str, path: str, who: str = "operator", **arguments: Any) -> Deed:
    """Calls a tool with a URL of the site."""

    async def deed(target: ToolTarget) -> Outcome:
        return await target.call(tool, {"url": target.site.url(path), **arguments}, who)

    return deed


def planted(
    plant: Callable[[Path], None],
    tool: str,
    who: str = "user",
    *,
    seconds: float | None = None,
    **arguments: Any,
) -> Deed:
    """Calls a tool in a conversation in whose folder something was planted before."""

    async def deed(target: ToolTarget) -> Outcome:
        talk = await target.planted(who, plant)
        outcome = await target.call(tool, arguments, who, seconds=seconds, conversation_id=talk)
        shutil.rmtree(target.workspace(target.person(who), talk))
        return outcome

    return deed
