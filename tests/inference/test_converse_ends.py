"""How conversations on one stream begin and end, over real mTLS gRPC."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from parley.auth.v1.revocation_service_pb2 import REVOCATION_KIND_KEY
from services.inference.engine.turn import Message, Role, ToolCall
from services.inference.reading.step import ContentDelta
from services.rpc.revocations import Revocation, Revocations, Subject
from tests.conftest import TokenMaker
from tests.inference.replicas import Replica
from tests.inference.scripted import Gate, ScriptedEngine, calls, says
from tests.inference.scripted_tools import ToolsProcess
from tests.inference.talk import Talk
from tests.inference.test_answers import DANGER, RIGHTS
from tests.inference.test_servicer import message, wait_until_free


@pytest.fixture
def metadata(tokens: TokenMaker) -> Any:
    return tokens.metadata(*RIGHTS)


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ({"user_turn": {"content": [{"text": "Hi"}]}}, "INVALID_REQUEST"),
        ({}, "INVALID_REQUEST"),
        ({"setup": {"model": "nobody"}}, "MODEL_NOT_FOUND"),
        ({"setup": {"messages": [message("Hi", 1), message("a", 3), message("b", 3)]}}, "accepted"),
        (
            {"setup": {"messages": [{"role": 3, "tool_calls": [{"id": "a", "name": "b"}]}]}},
            "MESSAGES_INVALID",
        ),
        ({"setup": {"client_tools": {"tools": [{"name": "a"}], "mode": 1}}}, "INVALID_REQUEST"),
        (
            {"setup": {"client_tools": {"tools": [{"name": "a", "parameters_schema": "[]"}]}}},
            "CLIENT_TOOL_INVALID",
        ),
    ],
)
async def test_a_stream_begins_with_a_good_set_up(
    replica: Replica, metadata: Any, first: dict[str, Any], expected: str
) -> None:
    async with replica(ScriptedEngine()) as process:
        talk = Talk(process.stub, metadata)
        await talk.send(**first)
        if expected == "accepted":
            assert await talk.hang_up() is grpc.aio.EOF
        else:
            assert await talk.failure() == expected


async def test_a_message_that_breaks_its_rules_ends_the_stream(replica: Replica, metadata: Any) -> None:
    gate = Gate()
    engine = ScriptedEngine([gate])
    async with replica(engine) as process:
        talk = Talk(process.stub, metadata)
        await talk.set_up()
        await talk.say("Hello")
        await gate.reached.wait()
        await talk.send(user_turn={})
        assert await talk.finish() == "CANCELLED"
        assert await talk.failure() == "INVALID_REQUEST"
        await wait_until_free(engine, process.runs)


async def test_a_stream_that_says_nothing_ends(replica: Replica, metadata: Any) -> None:
    async with replica(ScriptedEngine(), idle_seconds=0.05) as process:
        talk = Talk(process.stub, metadata)
        await talk.set_up()
        assert await talk.failure() == "DEADLINE_EXCEEDED"


async def test_a_stream_ends_before_its_deadline_with_its_reason(replica: Replica, metadata: Any) -> None:
    gate = Gate()
    async with replica(ScriptedEngine([gate])) as process:
        talk = Talk(process.stub, metadata, timeout=5.0)
        await talk.set_up()
        await talk.say("Hello")
        assert await talk.finish() == "DEADLINE"
        assert await talk.failure() == "DEADLINE_EXCEEDED"


async def test_no_turn_begins_after_the_tokens_end(replica: Replica, tokens: TokenMaker) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=3)
    gate = Gate()
    async with replica(ScriptedEngine([gate, *says("Done.")])) as process:
        talk = Talk(process.stub, tokens.metadata(*RIGHTS, expires_at=soon))
        await talk.set_up()
        await talk.say("Hello")
        await gate.reached.wait()
        over = asyncio.Event()
        asyncio.get_running_loop().call_later((soon - datetime.now(UTC)).total_seconds() + 0.1, over.set)
        await over.wait()
        gate.open.set()
        assert await talk.finish() == "STOP"
        await talk.say("Are you there?")
        assert await talk.failure() == "TOKEN_EXPIRED"


@pytest.mark.parametrize("busy", [True, False])
async def test_a_revoked_key_ends_the_stream_and_its_run(
    replica: Replica, tokens: TokenMaker, busy: bool
) -> None:
    gate, revocations = Gate(), Revocations(synchronized=True)
    engine = ScriptedEngine(says("Hello."), [gate])
    async with replica(engine, revocations=revocations) as process:
        talk = Talk(process.stub, tokens.metadata(*RIGHTS, key_id="key-1"))
        await talk.set_up()
        await talk.say("Hello")
        assert await talk.finish() == "STOP"
        if busy:
            await talk.say("More.")
            await gate.reached.wait()
        now = datetime.now(UTC)
        revocations.add(Revocation(Subject(REVOCATION_KIND_KEY, "key-1"), now, now + timedelta(hours=1)))
        if busy:
            assert await talk.finish() == "REVOKED"
        assert await talk.failure() == "TOKEN_REVOKED"
        await wait_until_free(engine, process.runs)


@pytest.mark.parametrize("busy", [True, False])
async def test_a_replica_that_stops_answers_what_it_began(
    replica: Replica, metadata: Any, busy: bool
) -> None:
    gate = Gate()
    async with replica(ScriptedEngine(says("Hello."), [gate, *says("Done.")])) as process:
        talk = Talk(process.stub, metadata)
        await talk.set_up()
        await talk.say("Hello")
        assert await talk.finish() == "STOP"
        if busy:
            await talk.say("More.", "And more.")
            await gate.reached.wait()
        stopping = asyncio.create_task(process.server.stop())
        await process.server.stopping.wait()
        if busy:
            gate.open.set()
            assert await talk.finish() == "STOP"
        assert await talk.failure() == "DRAINING"
        await stopping


@pytest.mark.parametrize("made", [None, DANGER, ToolCall("call-1", "slow", "{}")])
async def test_a_client_that_vanishes_frees_everything(
    replica: Replica, metadata: Any, tools_process: ToolsProcess, made: ToolCall | None
) -> None:
    gate = Gate()
    engine = ScriptedEngine([gate]) if made is None else ScriptedEngine(calls(made))
    async with replica(engine) as process:
        talk = Talk(process.stub, metadata)
        await talk.set_up()
        await talk.say("Hello")
        if made is None:
            await gate.reached.wait()
        elif made is DANGER:
            await talk.until("approval_needed")
        else:
            await tools_process.service.started.wait()
        talk.call.cancel()
        await wait_until_free(engine, process.runs)
        if made is not None and made is not DANGER:
            await asyncio.wait_for(tools_process.service.ended.wait(), 5)
        assert tools_process.service.running == 0


async def test_a_client_that_stops_reading_cannot_hold_the_engine(replica: Replica, metadata: Any) -> None:
    engine = ScriptedEngine([ContentDelta("x" * 100_000)] * 200)
    async with replica(engine) as process:
        talk = Talk(process.stub, metadata)
        await talk.set_up()
        await talk.say("Hello")
        await talk.until("content_delta")
        await talk.send(interrupt={})
        async with asyncio.timeout(5):
            while engine.running:  # noqa: ASYNC110 - nobody else is told
                await asyncio.sleep(0)
        talk.call.cancel()
        await wait_until_free(engine, process.runs)
        assert len(process.runs) == 0


async def test_a_fault_of_ours_leaves_masked(replica: Replica, metadata: Any) -> None:
    engine = ScriptedEngine()
    engine.rendering = RuntimeError("secret path")
    async with replica(engine) as process:
        talk = Talk(process.stub, metadata)
        await talk.set_up()
        await talk.say("Hello")
        assert await talk.failure() == "INTERNAL"


async def test_a_conversation_that_is_too_long_is_refused(replica: Replica, metadata: Any) -> None:
    turns = [message("Hi"), message("Hello.", 3)] * 2048
    engine = ScriptedEngine()
    engine.prompt_tokens = lambda turn: 10
    async with replica(engine) as process:
        talk = Talk(process.stub, metadata)
        await talk.set_up(messages=turns)
        await talk.say("One more?")
        assert await talk.refused() == (2, "CONVERSATION_FULL")
        talk.call.cancel()
    assert Message(Role.USER, "One more?") not in [each for turn in engine.rendered for each in turn.messages]
