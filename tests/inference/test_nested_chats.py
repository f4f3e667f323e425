"""A tool asks a model: real auth, a real tools service with `llm_chat`, and a replica that both call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from redis.asyncio import Redis
from ulid import ULID

from parley.auth.v1.quota_service_pb2_grpc import QuotaServiceStub
from parley.auth.v1.token_service_pb2_grpc import TokenServiceStub
from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from parley.tools.v1 import execution_pb2, tool_service_pb2
from parley.tools.v1.tool_service_pb2_grpc import ToolServiceStub, add_ToolServiceServicer_to_server
from services.inference.engine.turn import ToolCall
from services.inference.errors import EngineFailed
from services.ledger.ledger import Ledger
from services.ledger.limits import Dimension
from services.ledger.remote_limits import LimitSource, RemoteLimits
from services.rpc.channel import open_channel
from services.rpc.errors import error_info, status_of
from services.rpc.pages import PageTokens
from services.rpc.server import RpcServer
from services.rpc.tls import TlsFiles
from services.rpc.verifier import JwksVerifier, remote_keys
from services.tools.builtin.llm_chat import NOT_CONFIGURED, llm_chat_tool
from services.tools.call_stream import StreamLimits
from services.tools.catalogue import Catalogue
from services.tools.metering import Door
from services.tools.nested_chats import NestedChats
from services.tools.runner import Runner
from services.tools.servicer import ToolServicer
from services.tools.turns import Turns
from services.tools.workers import WorkerPool
from services.tools.workspace import Workspaces
from tests.conftest import AUDIENCE, ISSUER
from tests.inference.endless import FixedLimits, terms
from tests.inference.replicas import InferenceProcess, Replica, settings_for
from tests.inference.scripted import Gate, ScriptedEngine, calls, says
from tests.inference.scripted_tools import ToolsProcess
from tests.inference.test_run_tokens import exchange, token_in, why
from tests.inference.test_servicer import chat, read, reason, with_tools
from tests.running_auth import Metadata, RunningAuth, bearer, running_auth

SECONDS = 20
Identity = Callable[[str], TlsFiles]
Execute = Callable[..., Any]


class Platform:
    """Auth, and the addresses by which its neighbours reach each other."""

    def __init__(self, auth: RunningAuth, identity: Identity, stack: AsyncExitStack) -> None:
        self.auth = auth
        self._identity = identity
        self._stack = stack

    async def channel(self, peer: str, service: str, address: str) -> Any:
        """What this peer calls that service through."""
        opened = open_channel(address, tls=self._identity(peer), service=service, trust_domain="parley.local")
        return await self._stack.enter_async_context(opened)

    async def verifier(self, service: str) -> JwksVerifier:
        """Checks tokens as this service does."""
        keys = remote_keys(await self.channel(service, "auth", self.auth.address))
        return JwksVerifier(keys, issuer=ISSUER, audience=AUDIENCE, services=(service,))


@pytest.fixture
async def platform(tmp_path: Path, identity: Identity) -> AsyncIterator[Platform]:
    async with running_auth(tmp_path, identity) as auth, AsyncExitStack() as stack:
        yield Platform(auth, identity, stack)


class Models:
    """What the tool asks; it is there before the replica that answers, whose address it gets later."""

    Chat: Any
    channel: Any

    def __init__(self) -> None:
        self.pools: dict[str, Any] = {}


@pytest.fixture
async def models(platform: Platform) -> Models:
    return Models()


@pytest.fixture
async def tools_process(
    platform: Platform, models: Models, identity: Identity, tmp_path: Path
) -> AsyncIterator[ToolsProcess]:
    """The real service, with `llm_chat` alone."""
    auth = await platform.channel("tools", "auth", platform.auth.address)
    chats = NestedChats(models, TokenServiceStub(auth), models.pools)  # type: ignore[arg-type]
    catalogue = Catalogue([llm_chat_tool(chats)])
    turns = Turns(running=1, running_per_caller=1, waiting_per_caller=8)
    workers = WorkerPool(Workspaces(tmp_path / "workspaces", None), [], 1)
    runner = Runner(catalogue, workers, turns, max_argument_bytes=2**20)
    server = RpcServer(settings_for(identity("tools")), await platform.verifier("tools"))
    limits = StreamLimits(running=4, open=4, total=4)
    servicer = ToolServicer(catalogue, runner, limits, PageTokens(), Door(None))
    server.add(add_ToolServiceServicer_to_server, servicer)
    yield ToolsProcess(servicer, server, await server.start())  # type: ignore[arg-type]
    await server.stop()


Run = Callable[..., Any]


@pytest.fixture
def run(platform: Platform, models: Models, replica: Replica) -> Run:
    """Starts the replica that the tool asks, with this engine and these limits."""

    @asynccontextmanager
    async def start(
        engine: ScriptedEngine, limits: LimitSource | None = None
    ) -> AsyncIterator[InferenceProcess]:
        verifier = await platform.verifier("inference")
        async with replica(engine, limits=limits, verifier=verifier) as process:
            address = f"127.0.0.1:{process.port}"
            models.channel = await platform.channel("tools", "inference", address)
            models.Chat = InferenceServiceStub(models.channel).Chat
            yield process

    return start


@pytest.fixture
async def execute(platform: Platform, tools_process: ToolsProcess) -> Execute:
    """Calls `llm_chat` as the edge does."""
    stub: Any = ToolServiceStub(await platform.channel("edge", "tools", f"127.0.0.1:{tools_process.port}"))

    def call(metadata: Metadata, **arguments: Any) -> Any:
        invocation = execution_pb2.ToolInvocation(
            call_id="1", tool="llm_chat", arguments=json.dumps({"message": "hello", **arguments})
        )
        request = tool_service_pb2.ExecuteRequest(call=invocation)
        return stub.Execute(request, metadata=metadata, timeout=SECONDS)

    return call


async def refusal(call: Any) -> tuple[str, str]:
    """The reason of a refused call, and its cause."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read(call)
    info = error_info(status_of(caught.value))
    assert info is not None
    return info.reason, info.metadata.get("cause", "")


async def test_a_model_that_is_asked_by_a_tool_answers_it(
    platform: Platform, run: Run, execute: Execute
) -> None:
    _, metadata = await platform.auth.key()
    engine = ScriptedEngine(says("\n", "\nGood ", "day.\n"))
    async with run(engine):
        events = await read(execute(metadata, system_prompt="Be brief.", max_tokens=7, temperature=0))
    assert [event.output.text for event in events if event.HasField("output")] == ["Good ", "day.\n"]
    assert json.loads(events[-1].result.content) == {
        "answer": "Good day.",
        "model": "scripted",
        "finish_reason": "stop",
        "prompt_tokens": 20,
        "completion_tokens": 4,
    }
    (turn,) = engine.rendered
    assert [(message.role, message.content) for message in turn.messages] == [
        ("system", "Be brief."),
        ("user", "hello"),
    ]
    assert (turn.sampling.temperature, engine.budgets, turn.tools) == (0, [7], ())


async def test_the_example_gives_what_it_says(platform: Platform, run: Run, execute: Execute) -> None:
    """But for the model's name and the tokens, which are the scripted one's."""
    _, metadata = await platform.auth.key()
    [example] = llm_chat_tool(None).examples
    async with run(ScriptedEngine(says(example.result["answer"]))):
        events = await read(execute(metadata, **example.arguments))
    made = json.loads(events[-1].result.content)
    assert made.keys() == example.result.keys()
    assert (made["answer"], made["finish_reason"]) == (example.result["answer"], "stop")


async def test_a_model_is_asked_at_its_own_pool(
    platform: Platform, run: Run, execute: Execute, models: Models
) -> None:
    """The other pool, which is not there, is asked for all others."""
    _, metadata = await platform.auth.key()
    async with run(ScriptedEngine(says("Here."))):
        models.pools["scripted"] = InferenceServiceStub(models.channel)
        models.Chat = InferenceServiceStub(await platform.channel("tools", "inference", "127.0.0.1:1")).Chat
        events = await read(execute(metadata, model="scripted"))
        assert json.loads(events[-1].result.content)["answer"] == "Here."
        adapter = await refusal(execute(metadata, model="scripted:polite"))
        assert adapter[0] == "MODEL_REFUSED"
        assert await refusal(execute(metadata, model="another")) == ("DEPENDENCY_UNAVAILABLE", "")


async def test_a_runs_tool_asks_within_the_runs_place_and_from_its_budget(
    platform: Platform, run: Run, store: Redis
) -> None:
    _, metadata = await platform.auth.key()
    ask = ToolCall("call-1", "llm_chat", '{"message": "hello"}')
    engine = ScriptedEngine(calls(ask), says("Nested."), says("Done."))
    held_to = terms(f"user/{ULID()}", concurrent_streams=1, tokens_per_day=1000)
    await Ledger(store).mark_ready()
    async with run(engine, FixedLimits(held_to)) as process:
        events = await read(process.stub.Chat(with_tools(), metadata=metadata))
    assert reason(events) == "STOP"
    (result,) = [event.tool_result for event in events if event.HasField("tool_result")]
    assert json.loads(result.content)["answer"] == "Nested."
    (standing,) = [
        standing
        for standing in await Ledger(store).standings(held_to)
        if standing.dimension is Dimension.TOKENS_PER_DAY
    ]
    nested, outer = 10 + 2, 10 + 4 + 30 + 2
    assert 1000 - standing.left == nested + outer


async def test_a_run_that_waits_for_its_tool_does_not_keep_others_nested_chats_out(
    platform: Platform, run: Run, execute: Execute, store: Redis
) -> None:
    _, metadata = await platform.auth.key()
    gate = Gate()
    await Ledger(store).mark_ready()
    limits = FixedLimits(terms(f"user/{ULID()}", concurrent_streams=1))
    async with run(ScriptedEngine([gate, *says("Slow.")], says("Quick.")), limits) as process:
        outer = process.stub.Chat(chat(), metadata=metadata)
        await asyncio.wait_for(gate.reached.wait(), SECONDS)
        events = await read(execute(metadata))
        assert json.loads(events[-1].result.content)["answer"] == "Quick."
        gate.open.set()
        assert reason(await read(outer)) == "STOP"


async def test_a_nested_model_is_offered_no_tools_whatever_is_asked_for_it(
    platform: Platform, run: Run, tools_process: ToolsProcess
) -> None:
    _, metadata = await platform.auth.key()
    auth = TokenServiceStub(await platform.channel("tools", "auth", platform.auth.address))
    token = (await exchange(auth, token_in(metadata))).access_token
    engine = ScriptedEngine(says("Alone."))
    async with run(engine) as process:
        address = f"127.0.0.1:{process.port}"
        stub: Any = InferenceServiceStub(await platform.channel("tools", "inference", address))
        events = await read(stub.Chat(with_tools(), metadata=bearer(token)))
    assert events[0].started.tools == []
    assert engine.rendered[0].tools == ()
    again = TokenServiceStub(await platform.channel("inference", "auth", platform.auth.address))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await exchange(again, token)
    assert why(caught) == "TOKEN_INVALID"


async def test_the_limits_of_a_nested_chat_are_its_callers(
    platform: Platform, run: Run, execute: Execute
) -> None:
    """Inference asks auth with the token that it was shown, and auth tells it."""
    _, metadata = await platform.auth.key()
    limits = RemoteLimits(
        QuotaServiceStub(await platform.channel("inference", "auth", platform.auth.address))
    )
    async with run(ScriptedEngine(says("Hello.")), limits):
        events = await read(execute(metadata))
    assert json.loads(events[-1].result.content)["answer"] == "Hello."


@pytest.mark.parametrize(
    ("script", "arguments", "expected"),
    [
        (says("x"), {"model": "unknown"}, ("MODEL_REFUSED", "MODEL_NOT_FOUND")),
        ([EngineFailed("scripted")], {}, ("MODEL_REFUSED", "ENGINE_FAILED")),
        (says("x"), {"max_tokens": 0}, ("INVALID_ARGUMENTS", "")),
    ],
)
async def test_what_goes_wrong_with_the_model_is_told_as_the_tools_error(
    platform: Platform, run: Run, execute: Execute, script: Any, arguments: Any, expected: Any
) -> None:
    _, metadata = await platform.auth.key()
    async with run(ScriptedEngine(script)):
        assert await refusal(execute(metadata, **arguments)) == expected


async def test_a_revoked_key_asks_nothing(platform: Platform, run: Run, execute: Execute) -> None:
    key_id, metadata = await platform.auth.key()
    await platform.auth.revoke(key_id)
    async with run(ScriptedEngine(says("x"))):
        assert await refusal(execute(metadata)) == ("TOKEN_REVOKED", "")


async def test_without_inference_the_call_says_so(
    platform: Platform, execute: Execute, models: Models
) -> None:
    _, metadata = await platform.auth.key()
    models.Chat = InferenceServiceStub(await platform.channel("tools", "inference", "127.0.0.1:1")).Chat
    assert await refusal(execute(metadata)) == ("DEPENDENCY_UNAVAILABLE", "")


async def test_closing_the_call_frees_the_engine(platform: Platform, run: Run, execute: Execute) -> None:
    _, metadata = await platform.auth.key()
    gate = Gate()
    engine = ScriptedEngine([gate, *says("never")])
    async with run(engine) as process:
        call = execute(metadata)
        reading = asyncio.create_task(read(call))
        await asyncio.wait_for(gate.reached.wait(), SECONDS)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await process.runs.wait_until_empty(SECONDS)
    assert engine.running == 0


def test_without_models_the_tool_says_why_it_cannot_be_called() -> None:
    assert llm_chat_tool(None).unavailable == NOT_CONFIGURED
