"""The audit hears of every turn of a conversation, and of every decision about a call."""

from __future__ import annotations

import hashlib

import grpc

from parley.auth.v1 import audit_pb2
from tests.conftest import TokenMaker
from tests.inference.replicas import Replica
from tests.inference.scripted import ScriptedEngine, calls, says
from tests.inference.talk import Talk
from tests.inference.test_answers import APPROVE, DANGER, DENY, RIGHTS
from tests.rpc.test_audit import ALLOWED, REFUSED, Sink

METHOD = "/parley.inference.v1.InferenceService/Converse"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def test_turns_and_decisions_are_told(replica: Replica, tokens: TokenMaker) -> None:
    sink = Sink()
    engine = ScriptedEngine(calls(DANGER), says("Done."), calls(DANGER), says("I may not."))
    engine.prompt_tokens = lambda turn: 2000 if turn.messages[-1].content == "long" else 10
    async with replica(engine, audit=sink) as process:
        talk = Talk(process.stub, tokens.metadata(*RIGHTS))
        await talk.set_up()
        run_ids = []
        for verdict in (APPROVE, DENY):
            await talk.say("Do it.")
            run_ids.append((await talk.until("started")).started.run_id)
            await talk.until("approval_needed")
            await talk.send(decision={"call_id": "call-1", "verdict": verdict})
            assert await talk.finish() == "STOP"
        await talk.say("long")
        assert await talk.refused() == (6, "CONTEXT_OVERFLOW")
        assert await talk.hang_up() is grpc.aio.EOF

    assert {event.method for event in sink.events} == {METHOD}
    decided = [event for event in sink.events if "approval" in event.resources]
    assert [(event.resources["approval"], event.resources["tool"]) for event in decided] == [
        ("approved", "danger"),
        ("denied", "danger"),
    ]
    assert [event.decision for event in decided] == [ALLOWED, REFUSED]
    turns = [event for event in sink.events if "message" in event.resources]
    assert [(event.resources["message"], event.code, event.reason) for event in turns] == [
        ("2", "OK", ""),
        ("4", "OK", ""),
        ("6", "INVALID_ARGUMENT", "CONTEXT_OVERFLOW"),
    ]
    assert [event.resources["run_id"] for event in turns[:2]] == run_ids
    assert [event.request_digest for event in turns] == [digest("Do it."), digest("Do it."), digest("long")]
    assert sink.events[0].stage == audit_pb2.AUDIT_STAGE_STARTED
