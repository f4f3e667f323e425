"""Requests made from the descriptors: each is answered or refused with a reason, and nothing of it stays.

`make generated REQUESTS=5000` sends more of them, others each time.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parley.inference.v1 import (
    adapter_service_pb2,
    chat_pb2,
    conversation_service_pb2,
    converse_pb2,
    inference_service_pb2,
    message_pb2,
    rollout_service_pb2,
)
from parley_client.errors import ParleyError, from_rpc_error, from_status
from services.inference.adapters.shelf import Shelf
from services.inference.conversations import schema as conversations_schema
from services.inference.conversations.library import ConversationLibrary
from services.inference.engine.port import Prompt, no_ceiling
from services.inference.engine.turn import Role, ToolCall
from services.inference.reading.step import Step
from services.inference.rollouts import schema as rollouts_schema
from services.inference.rollouts.library import RolloutLibrary
from services.sql.database import Database, parse_url
from tests.any_message import changed
from tests.conftest import TokenMaker
from tests.inference.adapters.made import BASE, make_adapter
from tests.inference.replicas import InferenceProcess, Replica
from tests.inference.scripted import ScriptedEngine, ScriptedHost, calls, says
from tests.postgresql import sqlite_url

REQUESTS = int(os.environ.get("GENERATED_REQUESTS", "250"))
CALL_SECONDS = 30.0
"""Far more than any request takes here: one that it cuts hung, and has no reason to tell."""
FAULTS = ("UNKNOWN", "INTERNAL", "DATA_LOSS", "UNIMPLEMENTED")
SERVICES = (
    *inference_service_pb2.DESCRIPTOR.services_by_name.values(),
    *conversation_service_pb2.DESCRIPTOR.services_by_name.values(),
    *rollout_service_pb2.DESCRIPTOR.services_by_name.values(),
    *adapter_service_pb2.DESCRIPTOR.services_by_name.values(),
)
METHODS = {method.full_name: method for service in SERVICES for method in service.methods}
RUN_ID = "01J" + "0" * 23
TALK_ID = "01K" + "0" * 23
TALK = {"conversation_id": TALK_ID}
HELLO = [message_pb2.Message(role=message_pb2.ROLE_USER, content=[message_pb2.ContentPart(text="Hi")])]
CHATS = (
    chat_pb2.ChatRequest(messages=HELLO),
    chat_pb2.ChatRequest(messages=HELLO, server_tools={"names": ["calculator"]}),
    chat_pb2.ChatRequest(messages=HELLO, sampling={"temperature": 0.5, "seed": 7, "max_output_tokens": 20}),
)
RUN = {"run_id": RUN_ID}
RIGHT: dict[str, Sequence[dict[str, Any]]] = {
    "Complete": [{"text": "Once"}, {"tokens": {"ids": [65]}, "sampling": {"max_output_tokens": 5}}],
    "Embed": [{"texts": ["a"]}],
    "Tokenize": [{"text": "a"}, {"chat": {"messages": HELLO}}],
    "CountTokens": [{"text": "a"}, {"chat": {"messages": HELLO}}],
    "Detokenize": [{"tokens": {"ids": [65, 66]}}],
    "Resume": [RUN],
    "Cancel": [RUN],
    "SubmitToolResult": [{**RUN, "result": {"call_id": "c", "content": "a"}}],
    "DecideApproval": [{**RUN, "decision": {"call_id": "c", "verdict": 1}}],
    "GetModel": [{"name": "scripted"}],
    "LoadAdapter": [{"adapter": "polite"}],
    "UnloadAdapter": [{"adapter": "polite"}],
    "CreateConversation": [{"title": "a", "conversation_id": TALK_ID}],
    "SearchMessages": [{"query": "a"}],
    **{name: [TALK] for name in ("GetConversation", "DeleteConversation", "ListMessages")},
    "RenameConversation": [{**TALK, "title": "b"}],
    "AppendMessages": [{**TALK, "messages": HELLO}],
    "BranchConversation": [{**TALK, "message_id": RUN_ID}],
    "CreateRollout": [
        {"name": "alias", "variants": [{"name": "one", "weight": 100, "model": "scripted"}]},
    ],
    "PromoteRollout": [{"name": "alias", "variant_name": "one"}],
    **{name: [{"name": "alias"}] for name in ("GetRollout", "RollbackRollout", "DeleteRollout")},
}
TURN = converse_pb2.ConverseRequest(user_turn={"content": HELLO[0].content})
SETUP = converse_pb2.ConverseRequest(setup={})


class Obliging(ScriptedEngine):
    """Calls the first tool that it is offered, once; answers otherwise."""

    async def generate(
        self,
        prompt: Prompt,
        *,
        max_output_tokens: int,
        request_id: str,
        ceiling: Callable[[], int | None] = no_ceiling,
        said: Sequence[int] = (),
    ) -> AsyncGenerator[Step, None]:
        turn = self.rendered[-1]
        asked = turn.messages and turn.messages[-1].role is Role.USER
        self.script(
            calls(ToolCall("c", turn.tools[0].name, "{}")) if turn.tools and asked else says("Hello.")
        )
        steps = super().generate(
            prompt, max_output_tokens=max_output_tokens, request_id=request_id, ceiling=ceiling
        )
        async for step in steps:
            yield step


def requests_of(name: str) -> st.SearchStrategy[list[Message]]:
    """What a client could send to a method."""
    method = METHODS[name]
    kind = GetMessageClass(method.input_type)
    if method.client_streaming:
        rest = st.lists(changed([TURN, kind()]), max_size=2)
        return st.tuples(changed([SETUP]), rest).map(lambda parts: [parts[0], *parts[1]])
    rights = (
        CHATS if kind is chat_pb2.ChatRequest else [kind(**each) for each in RIGHT.get(method.name, [{}])]
    )
    return changed(rights).map(lambda request: [request])


CALLS = st.sampled_from(list(METHODS)).flatmap(lambda name: st.tuples(st.just(name), requests_of(name)))


@pytest.fixture
async def process(replica: Replica, tmp_path: Path) -> AsyncIterator[InferenceProcess]:
    url = parse_url(sqlite_url(tmp_path / "inference.db"))
    await conversations_schema.migrate(url)
    await rollouts_schema.migrate(url)
    database = Database(url)
    try:
        stored = ConversationLibrary(database), RolloutLibrary(database)
        make_adapter(tmp_path / "adapters" / "polite")
        shelf, engine = Shelf(tmp_path / "adapters", 2**20, lambda: BASE), Obliging()
        engine.adapter_host = ScriptedHost()
        async with replica(engine, library=stored[0], rollouts=stored[1], shelf=shelf) as process:
            yield process
    finally:
        await database.close()


LOST_RACE = "Internal error from Core"
"""What grpc.aio makes of a call that the server ends while a message is written: its status is lost."""


async def outcome(process: InferenceProcess, metadata: Any, method: MethodDescriptor, sent: Any) -> str:
    """How a call ended: OK, or its code and reason."""
    stubs = {"ConversationService": process.conversations, "RolloutService": process.rollouts}
    stubs["AdapterService"] = process.adapters
    start = getattr(stubs.get(method.containing_service.name, process.stub), method.name)
    call = start(iter(sent) if method.client_streaming else sent[0], metadata=metadata, timeout=CALL_SECONDS)
    try:
        answers = [answer async for answer in call] if method.server_streaming else [await call]
    except grpc.aio.AioRpcError as error:
        if error.details() == LOST_RACE:
            return await outcome(process, metadata, method, sent)
        return told(from_rpc_error(error))
    ends = [answer.event.finished for answer in answers if ended(answer)]
    failed = [told(from_status(end.error)) for end in ends if end.HasField("error")]
    return failed[-1] if failed else "OK"


def ended(answer: Message) -> bool:
    """Whether this is an event that ends a run."""
    event = getattr(answer, "event", None)
    return event is not None and event.WhichOneof("event") == "finished"


def told(error: ParleyError) -> str:
    return f"{error.code.name} {error.reason}"


async def test_any_request_is_answered_or_refused_and_nothing_stays(
    process: InferenceProcess, tokens: TokenMaker
) -> None:
    metadata = tokens.metadata("inference.*", "models.*", "tools.*")
    loop, outcomes = asyncio.get_running_loop(), Counter[str]()

    @settings(max_examples=REQUESTS, database=None, suppress_health_check=list(HealthCheck))
    @given(CALLS)
    def holds(call: tuple[str, list[Message]]) -> None:
        name, sent = call
        calling = asyncio.run_coroutine_threadsafe(outcome(process, metadata, METHODS[name], sent), loop)
        end = calling.result(2 * CALL_SECONDS)
        code, _, reason = end.partition(" ")
        outcomes[end] += 1
        assert code not in FAULTS, end
        assert code == "OK" or reason, end

    await asyncio.to_thread(holds)
    assert await process.runs.wait_until_empty(CALL_SECONDS)
    assert process.engine is not None
    assert process.engine.running == 0
    print(outcomes)
    assert outcomes["OK"] > REQUESTS / 10, outcomes
    assert len(outcomes) > 5, outcomes
