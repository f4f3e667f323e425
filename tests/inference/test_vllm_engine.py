"""The engine port on a real vLLM, with a model whose weights spell known texts."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
import pytest_asyncio

from services.inference.engine import (
    ContentDelta,
    Delta,
    Engine,
    Message,
    ReasoningDelta,
    Role,
    Sampling,
    Step,
    StopReason,
    ToolCall,
    ToolCallDelta,
    ToolSpec,
    Turn,
)
from services.inference.errors import ContextOverflow, EngineFailed, MessagesInvalid
from services.inference.order import CacheMode
from services.inference.settings import EngineSettings
from services.inference.turn_cache.cache import TurnCache
from services.inference.turn_cache.source import SharedTurns
from services.ledger.ledger import open_store
from tests.inference.tiny_model import CONTEXT_LENGTH, make

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # the first test waits for the engine, which two busy cores make slow
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("default"),  # vLLM's and torch's own, which nobody here can mend
]

CALCULATOR = ToolSpec("calculator", "Calculates.", {"type": "object"})
GREEDY = Sampling(temperature=0)


def user(text: str, *, tools: tuple[ToolSpec, ...] = (), sampling: Sampling = GREEDY) -> Turn:
    return Turn((Message(Role.USER, text),), tools, sampling)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("model"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(model: Path) -> AsyncIterator[Engine]:
    from services.inference.vllm_engine import VllmEngine

    settings = EngineSettings(model=str(model), name="tiny", kv_cache_bytes=64 * 2**20)
    engine = await asyncio.to_thread(VllmEngine.load, settings)
    try:
        yield engine
    finally:
        await engine.close()


async def answer(engine: Engine, turn: Turn, request_id: str, most: int = 64) -> list[Step]:
    prompt = await engine.render(turn)
    steps = engine.generate(prompt, max_output_tokens=most, request_id=request_id)
    async with aclosing(steps):
        return [step async for step in steps]


def said(steps: list[Step]) -> list[Delta]:
    return [delta for step in steps for delta in step.deltas]


def text_of(steps: list[Step], kind: type[ContentDelta] | type[ReasoningDelta]) -> str:
    return "".join(delta.text for delta in said(steps) if isinstance(delta, kind))


async def wait_until_idle(engine: Engine) -> None:
    async with asyncio.timeout(5):
        while engine.running:  # noqa: ASYNC110 - vLLM offers no event for it
            await asyncio.sleep(0)


async def test_card_tells_what_the_model_can_do(engine: Engine) -> None:
    card = engine.card
    assert (card.name, card.context_length) == ("tiny", CONTEXT_LENGTH)
    assert card.supports_tools
    assert card.supports_reasoning


async def test_answer_is_said_and_counted(engine: Engine) -> None:
    """On a busy machine vLLM joins the tokens of a slow reader, so the cuts are not fixed."""
    steps = await answer(engine, user("hello"), "plain")
    assert text_of(steps, ContentDelta) == "Hello, world."
    assert steps[-1].usage.completion_tokens == 3
    assert steps[-1].end is not None
    assert steps[-1].end.reason is StopReason.STOP


async def test_call_is_parsed_with_its_reasoning(engine: Engine) -> None:
    steps = await answer(engine, user("17 * 23?", tools=(CALCULATOR,)), "call")
    deltas, end = said(steps), steps[-1].end
    assert text_of(steps, ReasoningDelta) == "The calculator will know."
    calls = [delta for delta in deltas if isinstance(delta, ToolCallDelta)]
    assert "".join(delta.arguments for delta in calls) == '{"expression": "17 * 23"}'
    assert end is not None
    assert [(call.id, call.name, call.arguments) for call in end.calls] == [
        (calls[0].id, "calculator", '{"expression": "17 * 23"}')
    ]
    assert steps[-1].usage.reasoning_tokens >= 2


async def test_a_prompt_and_a_model_can_be_told_from_others(engine: Engine) -> None:
    prompts = [await engine.render(user(text)) for text in ("hello", "hello", "17 * 23?")]
    same, again, other = (prompt.identity for prompt in prompts)
    assert same == again != other
    assert len(engine.card.fingerprint) == 64


async def test_a_call_is_said_again_from_the_cache_a_token_at_a_time(engine: Engine, store_url: str) -> None:
    async with open_store(store_url) as store:
        cache = TurnCache(store)
        async with cache.sharing():
            first, again = [await through(engine, cache) for _ in range(2)]
    usages = [step.usage for step in first]
    assert [usage.completion_tokens for usage in usages] == list(range(1, len(first) + 1))
    assert text_of(first, ReasoningDelta) == "The calculator will know."
    assert said(first) == said(again)
    assert first[-1].end == again[-1].end
    assert [step.usage.reused_tokens for step in again] == [usage.completion_tokens for usage in usages]


async def through(engine: Engine, cache: TurnCache) -> list[Step]:
    turns = SharedTurns(engine, cache, "tenant-1", CacheMode.DETERMINISTIC)
    prompt = await turns.render(user("17 * 23?", tools=(CALCULATOR,)))
    steps = turns.generate(prompt, max_output_tokens=64, request_id="through")
    async with aclosing(steps):
        return [step async for step in steps]


async def test_a_tools_result_is_answered(engine: Engine) -> None:
    call = ToolCall("call-1", "calculator", '{"expression": "17 * 23"}')
    turn = Turn(
        (
            Message(Role.USER, "17 * 23?"),
            Message(Role.ASSISTANT, "", "The calculator will know.", (call,)),
            Message(Role.TOOL, '{"result":391}', tool_call_id="call-1"),
        ),
        (CALCULATOR,),
        GREEDY,
    )
    steps = await answer(engine, turn, "after-tool")
    assert text_of(steps, ContentDelta) == "It is three hundred and ninety-one."


async def test_history_whose_arguments_are_no_json_is_rendered(engine: Engine) -> None:
    call = ToolCall("call-1", "calculator", '{"expression": ')
    turn = Turn(
        (
            Message(Role.USER, "17 * 23?"),
            Message(Role.ASSISTANT, "", "", (call,)),
            Message(Role.TOOL, "{}", tool_call_id="call-1"),
        ),
        (CALCULATOR,),
    )
    assert (await engine.render(turn)).tokens > 0


async def test_length_ends_the_turn(engine: Engine) -> None:
    steps = await answer(engine, user("count"), "length", most=5)
    assert steps[-1].end is not None
    assert steps[-1].end.reason is StopReason.LENGTH
    assert steps[-1].usage.completion_tokens == 5


async def test_stop_text_ends_the_turn_and_is_not_said(engine: Engine) -> None:
    steps = await answer(engine, user("count", sampling=Sampling(temperature=0, stop=("three",))), "stop")
    assert text_of(steps, ContentDelta).strip() == "one two"
    assert steps[-1].end is not None
    assert steps[-1].end.reason is StopReason.STOP


async def test_closing_the_stream_frees_the_slot(engine: Engine) -> None:
    prompt = await engine.render(user("count"))
    steps = engine.generate(prompt, max_output_tokens=900, request_id="closed")
    await anext(steps)
    assert engine.running == 1
    await steps.aclose()
    await wait_until_idle(engine)
    assert engine.running == 0


async def test_cancelling_the_reader_frees_the_slot(engine: Engine) -> None:
    reading = asyncio.create_task(answer(engine, user("count"), "cancelled", most=900))
    async with asyncio.timeout(5):
        while not engine.running:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await wait_until_idle(engine)
    assert engine.running == 0


async def test_long_prompt_is_counted_exactly(engine: Engine) -> None:
    prompt = await engine.render(user("x" * (CONTEXT_LENGTH + 100)))
    assert prompt.tokens > CONTEXT_LENGTH + 100


async def test_endless_text_is_refused_before_it_is_tokenized(engine: Engine) -> None:
    with pytest.raises(ContextOverflow) as refused:
        await engine.render(user("x" * 10_000_000))
    assert int(refused.value.metadata["prompt_tokens"]) > CONTEXT_LENGTH
    assert refused.value.metadata["context_length"] == str(CONTEXT_LENGTH)


async def test_template_that_fails_is_the_messages_fault(engine: Engine) -> None:
    with pytest.raises(MessagesInvalid):
        await engine.render(Turn(()))


async def test_a_killed_engine_is_noticed_and_typed(model: Path, engine: Engine) -> None:
    """Last in this module: nothing can use the engine after it."""
    prompt = await engine.render(user("count"))
    steps = engine.generate(prompt, max_output_tokens=900, request_id="killed")
    await anext(steps)
    for child in multiprocessing.active_children():
        child.kill()
    with pytest.raises(EngineFailed):
        async for _ in steps:
            pass
    async with asyncio.timeout(10):
        await engine.failed()
    again = engine.generate(prompt, max_output_tokens=1, request_id="after")
    with pytest.raises(EngineFailed):
        await anext(again)
