"""Runs go on at another replica when theirs is lost, over real mTLS gRPC and a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from ulid import ULID

from cli.local.preflight import free_port
from parley.inference.v1 import chat_pb2
from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from parley.tools.v1 import tool_pb2
from services.inference.calling.tool_round import ToolRound
from services.inference.calling.waiting_calls import WaitingCalls
from services.inference.conversations.library import ConversationLibrary, is_busy
from services.inference.conversations.messages import NewMessage, body
from services.inference.conversations.schema import migrate
from services.inference.engine.port import Prompt
from services.inference.engine.turn import Role, ToolCall, Turn
from services.inference.reading.step import ContentDelta, Step
from services.inference.resumption.journal import Journal, Source
from services.inference.resumption.tape import Room, Tape
from services.inference.runs.order import ChatOrder
from services.inference.runs.registry import Owner
from services.inference.runs.token_trail import TokenTrail
from services.inference.takeovers.past import PastTurn
from services.inference.translation import events as translate_events
from services.ledger.ledger import Ledger
from services.ledger.limits import Dimension
from services.rpc.errors import error_info
from services.rpc.tls import TlsFiles
from services.sql.database import Database, parse_url
from tests.conftest import TokenMaker
from tests.inference.endless import SLICE, EndlessEngine, FixedLimits, ReplicaOrder, terms
from tests.inference.replicas import Identity, InferenceProcess, Replica, as_edge
from tests.inference.scripted import Gate, ScriptedEngine, ScriptedToolbox, calls, says, tool
from tests.inference.test_quotas import killable, used
from tests.inference.test_resumption import (
    Events,
    cut_after,
    engine_of,
    rest,
    resumed,
    run_of,
    window,
)
from tests.inference.test_servicer import PERMISSIONS, SUM, chat, kinds, message, read, reason, with_tools
from tests.postgresql import sqlite_url

WORDS = 60
OWNER = Owner("tenant-1", "user-1")
SAME_AGAIN = chat_pb2.SamplingOptions(temperature=0)


@pytest.fixture
def metadata(tokens: TokenMaker) -> Any:
    return tokens.metadata(*PERMISSIONS)


@pytest.fixture
async def here(replica: Replica) -> AsyncIterator[InferenceProcess]:
    async with replica(ScriptedEngine()) as process:
        yield process


def text_of(events: Events) -> str:
    return "".join(event.content_delta.text for event in events)


def loss(events: Events) -> str:
    info = error_info(events[-1].finished.error)
    return info.reason if info is not None else ""


@pytest.fixture
def lost_one(identity: Identity, tokens: TokenMaker, store_url: str) -> ReplicaOrder:
    """A replica that says nothing after 20 tokens, and then can be killed."""
    tls = identity("inference")
    files = [str(tls.certificate), str(tls.private_key), str(tls.authority)]
    keys = dict(tokens.keys.as_dict(private=False))
    account, limits = f"user/{ULID()}", {"tokens_per_day": 1_000_000}
    return ReplicaOrder(free_port(), files, keys, store_url, account, limits, stalls_after=20)


@dataclass(frozen=True)
class Killing:
    """Kills a replica in the middle of a run that another one goes on with."""

    order: ReplicaOrder
    edge: TlsFiles
    metadata: Any
    log: Path

    async def survived(self, elsewhere: InferenceProcess, request: chat_pb2.ChatRequest) -> Events:
        """All that a run says whose reader was at the other replica when its own was killed."""
        async with (
            killable(self.order, self.log) as process,
            as_edge(self.edge, self.order.port) as channel,
        ):
            stub = InferenceServiceStub(channel)
            call = stub.Chat(request, metadata=self.metadata, wait_for_ready=True, timeout=120)
            head = await cut_after(call, 6)
            reader = resumed(elsewhere.stub, run_of(head), 6, self.metadata)
            kept = [(await reader.read()).event for _ in range(15)]
            process.kill()
            tail = await read(reader)
            whole = await rest(elsewhere.stub, run_of(head), 0, self.metadata)
        assert whole == [*head, *kept, *tail]
        return whole


@pytest.fixture
def killing(lost_one: ReplicaOrder, identity: Identity, metadata: Any, tmp_path: Path) -> Killing:
    return Killing(lost_one, identity("edge"), metadata, tmp_path / "log")


@pytest.mark.parametrize(
    "sampling",
    [
        pytest.param({"max_output_tokens": WORDS}, id="from its tokens"),
        pytest.param({"max_output_tokens": WORDS, "seed": 1, "stop": ["!"]}, id="said again"),
    ],
)
async def test_a_run_whose_replica_is_killed_goes_on_where_it_was_and_is_paid_for_once(
    sampling: dict[str, Any], replica: Replica, killing: Killing, store: Redis
) -> None:
    account, limits = killing.order.account, killing.order.limits
    await store.set("parley:{ledger}:ready", "1")
    async with replica(EndlessEngine(), FixedLimits(terms(account, **limits))) as elsewhere:
        whole = await killing.survived(elsewhere, chat(sampling=sampling, **window()))
    assert [event.sequence for event in whole] == list(range(1, len(whole) + 1))
    assert text_of(whole) == "word " * WORDS
    assert reason(whole) == "LENGTH"
    assert whole[-2].usage.completion_tokens == WORDS
    again = 10 if "seed" not in sampling else 10 + 20
    charged = (await used(Ledger(store), account, **limits))[Dimension.TOKENS_PER_DAY]
    assert 10 + WORDS + again <= charged <= 10 + WORDS + again + SLICE


async def test_a_killed_replicas_conversation_is_gone_on_with_and_has_the_answer_once(
    replica: Replica, killing: Killing, store: Redis, tmp_path: Path
) -> None:
    url = sqlite_url(tmp_path / "conversations.db")
    await migrate(parse_url(url))
    await store.set("parley:{ledger}:ready", "1")
    database = Database(parse_url(url))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        library = ConversationLibrary(database)
        which = (await library.create(OWNER, "", "", [NewMessage(message("Hello."))])).conversation_id
        request = chat(sampling={"max_output_tokens": WORDS}, **window())
        request.conversation_id, request.continue_conversation = which, True
        both = replace(killing, order=replace(killing.order, database=url))
        async with replica(EndlessEngine(), library=library) as elsewhere:
            whole = await both.survived(elsewhere, request)
        stored = await library.messages(OWNER, which, -1, 10)
        conversation = await library.get(OWNER, which)
    assert (reason(whole), text_of(whole)) == ("LENGTH", "word " * WORDS)
    assert not whole[-1].finished.HasField("conversation_error")
    asked = request.messages[0].content[0].text
    assert [body(each).content[0].text for each in stored] == ["Hello.", asked, "word " * WORDS]
    assert stored[-1].run_id == run_of(whole)
    assert not is_busy(conversation)


async def lose(store: Redis, events: Events, request: chat_pb2.ChatRequest, owner: Owner) -> str:
    """The journal of a run that had said this when its replica was lost."""
    run_id, tape = str(ULID()), Tape(Room(2**20), 2**20)
    for event in events:
        tape.add(chat_pb2.ChatResponse(event=event).SerializeToString())
    tape.end()
    asked = request.SerializeToString()
    await Journal(store).keep(Source(run_id, owner, "lost", asked, tape, TokenTrail(), 60))
    return run_id


def stable(events: Events) -> list[str]:
    """The events without what differs each time: how far a call is, who is asked, how long it took."""
    told = []
    for event in events:
        copy = chat_pb2.ChatEvent.FromString(event.SerializeToString())
        for part, field in (("started", "run_id"), ("tool_result", "duration")):
            if copy.HasField(part):  # type: ignore[arg-type]
                getattr(copy, part).ClearField(field)
        copy.ClearField("sequence")
        told.append(str(copy))
    return [each for each in told if not each.startswith("tool_progress")]


class CallsOnce(ScriptedEngine):
    """Makes one call, and answers from its result."""

    async def render(self, turn: Turn) -> Prompt:
        return replace(await super().render(turn), native=turn)

    def generate(self, prompt: Prompt, **options: Any) -> AsyncGenerator[Step, None]:
        turn = prompt.native
        assert isinstance(turn, Turn)
        answers = turn.messages[-1].role is Role.TOOL
        self.script(says("It is ", "391.") if answers else calls(SUM))
        return super().generate(prompt, **options)


async def test_a_run_is_lost_at_any_event_and_is_told_as_if_it_had_not_been(
    replica: Replica, metadata: Any, store: Redis
) -> None:
    """With reasoning, a safe tool that runs again, and text."""
    request = with_tools(sampling=SAME_AGAIN, **window())
    async with replica(CallsOnce()) as process:
        whole = await read(process.stub.Chat(request, metadata=metadata))
        # Lost between its last usage and its end, a run looks as if it had calls to make.
        cuts = [whole[:position] for position in range(1, len(whole) - 1)]
        lost = [await lose(store, cut, request, OWNER) for cut in cuts]
        gone_on = await asyncio.gather(*(rest(process.stub, run_id, 0, metadata) for run_id in lost))
    assert kinds(whole)[-3:] == ["content_delta", "usage", "finished"]
    for cut, again in zip(cuts, gone_on, strict=True):
        assert stable(again) == stable(whole), len(cut)
        assert again[: len(cut)] == cut
        assert [event.sequence for event in again] == list(range(1, len(again) + 1))


def with_history(request: chat_pb2.ChatRequest) -> chat_pb2.ChatRequest:
    """The same question after another."""
    longer = chat_pb2.ChatRequest.FromString(request.SerializeToString())
    longer.messages.insert(0, message("Hello."))
    return longer


async def test_what_cannot_be_said_again_is_lost(here: InferenceProcess, metadata: Any, store: Redis) -> None:
    engine_of(here).script(says("Once ", "upon."))
    request = chat(**window())
    whole = await read(here.stub.Chat(request, metadata=metadata))
    other = chat(sampling=SAME_AGAIN, **window())
    outcomes = {
        "its tokens are not known": (request, whole[:2], says("Once ", "upon.")),
        "it says something else": (other, whole[:3], says("Once ", "more.")),
        "its prompt is another": (with_history(other), whole[:2], says("Once ", "upon.")),
    }
    for name, (asked, events, script) in outcomes.items():
        engine_of(here).script(script)
        again = await rest(here.stub, await lose(store, events, asked, OWNER), 0, metadata)
        assert (name, reason(again), loss(again)) == (name, "ERROR", "RUN_LOST")
        assert again[: len(events)] == events


async def test_two_replicas_that_miss_a_run_go_on_with_it_once(
    here: InferenceProcess, replica: Replica, metadata: Any, store: Redis
) -> None:
    request = chat(sampling=SAME_AGAIN, **window())
    engine_of(here).script(says("Once ", "upon."))
    whole = await read(here.stub.Chat(request, metadata=metadata))
    async with replica(ScriptedEngine(says("Once ", "upon."))) as elsewhere:
        engine_of(here).script(says("Once ", "upon."))
        before = len(engine_of(here).request_ids)
        run_id = await lose(store, whole[:2], request, OWNER)
        readers = [resumed(each.stub, run_id, 2, metadata) for each in (here, elsewhere, here, elsewhere)]
        rests = await asyncio.gather(*map(read, readers))
        begun = len(engine_of(here).request_ids) - before + len(engine_of(elsewhere).request_ids)
    assert begun == 1
    for each in rests:
        assert each == rests[0]
    assert text_of(whole[:2] + rests[0]) == "Once upon."


async def test_a_replica_that_was_taken_for_lost_ends_its_run_and_writes_no_more(
    here: InferenceProcess, metadata: Any, store: Redis
) -> None:
    gate = Gate()
    engine_of(here).script([ContentDelta("Once "), gate, *says("upon.")])
    call = here.stub.Chat(chat(**window()), metadata=metadata)
    head = [(await call.read()).event for _ in range(2)]
    run_id, journal = run_of(head), Journal(store)
    async with asyncio.timeout(15):
        while (memory := await journal.recall(run_id)) is None or len(memory.events) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await journal.claim(run_id, memory.writer, "heir")
    gate.open.set()
    tail = await read(call)
    assert (reason(tail), loss(tail)) == ("ERROR", "RUN_LOST") or text_of(tail) == "upon."
    assert (await journal.last(run_id))[0] == 2


async def round_of(past: PastTurn, *made: ToolCall) -> tuple[list[str], ScriptedToolbox]:
    """What a round after a loss tells, and what it runs."""
    offered = (tool("sum"), tool("write", tool_pb2.SAFETY_LEVEL_RESTRICTED))
    toolbox = ScriptedToolbox(offered, {"sum": ["1"], "write": ["written"]})
    tool_round = ToolRound(ChatOrder("m", ()), offered, toolbox, WaitingCalls(), 1000, past)
    told = [event async for event in tool_round.events(made, 1)]
    lines = []
    for event in told:
        response = translate_events.chat_response(1, "r", event).event
        info = error_info(response.tool_result.error)
        lines.append(f"{response.WhichOneof('event')} {info.reason if info else ''}".strip())
    return lines, toolbox


async def test_only_a_call_that_cannot_have_done_anything_is_run_again() -> None:
    safe, writes = ToolCall("1", "sum", "{}"), ToolCall("2", "write", "{}")
    lines, toolbox = await round_of(PastTurn(calls={"1": safe, "2": writes}), safe, writes)
    assert sorted(lines) == ["tool_result", "tool_result CALL_LOST"]
    assert toolbox.executed == [(safe,)]


async def test_a_call_that_nobody_was_told_of_did_not_run() -> None:
    writes = ToolCall("2", "write", "{}")
    lines, toolbox = await round_of(PastTurn(), writes)
    assert lines == ["tool_call", "tool_result"]
    assert toolbox.executed == [(writes,)]
