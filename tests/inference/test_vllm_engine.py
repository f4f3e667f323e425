"""The engine port on a real vLLM, with a model whose weights spell known texts."""

from __future__ import annotations

import asyncio
import json
import math
import multiprocessing
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services.inference.engine.options import CallMode, FormKind, OutputForm, RawPrompt, ToolChoice
from services.inference.engine.port import Engine
from services.inference.engine.turn import Message, Role, Sampling, ToolCall, ToolSpec, Turn
from services.inference.errors import (
    ContextOverflow,
    EngineFailed,
    MessagesInvalid,
    StructuredOutputInvalid,
)
from services.inference.reading.step import (
    ContentDelta,
    Delta,
    ReasoningDelta,
    Step,
    StopReason,
    ToolCallDelta,
    TurnEnd,
)
from services.inference.runs.order import CacheMode
from services.inference.settings import EngineSettings
from services.inference.turn_cache.cache import TurnCache
from services.inference.turn_cache.source import SharedTurns
from services.ledger.ledger import open_store
from services.rpc.errors import InvalidRequest
from tests.inference.tiny_model import CONTEXT_LENGTH, make
from tests.unmeasured import unmeasured

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # the first test waits for the engine, which two busy cores make slow
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("default"),  # vLLM's and torch's own, which nobody here can mend
]

CALCULATOR = ToolSpec("calculator", "Calculates.", {"type": "object"})
GREEDY = Sampling(temperature=0)
# JSON may have them nearly anywhere, and this model would write nothing else.
BLANKS = " \n\t\r"


def user(text: str, *, tools: tuple[ToolSpec, ...] = (), sampling: Sampling = GREEDY, **fields: Any) -> Turn:
    return Turn((Message(Role.USER, text),), tools, sampling, **fields)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("model"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(model: Path) -> AsyncIterator[Engine]:
    from services.inference.vllm.engine import VllmEngine

    settings = EngineSettings(model=str(model), name="tiny", kv_cache_bytes=64 * 2**20)
    with unmeasured():
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


def ending(steps: list[Step]) -> TurnEnd:
    end = steps[-1].end
    assert end is not None
    return end


def greedy(**fields: Any) -> Sampling:
    return Sampling(temperature=0, **fields)


def raw(text: str, *, echo: bool = False, sampling: Sampling = GREEDY) -> Turn:
    return Turn((), sampling=sampling, raw=RawPrompt(text, echo=echo))


async def without(engine: Engine, characters: str) -> Sampling:
    """Sampling that says these only where nothing else may be said."""
    banned = await engine.tokenize(characters, special=False)
    return greedy(logit_bias=dict.fromkeys(banned, -100.0))


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


async def test_a_turn_goes_on_after_the_tokens_that_another_engine_said(engine: Engine) -> None:
    """Wherever it was cut: the same reasoning, call and usage."""
    turn = user("17 * 23?", tools=(CALCULATOR,))
    whole = await answer(engine, turn, "whole")
    token_ids = [token for step in whole for token in step.token_ids]
    assert len(token_ids) == whole[-1].usage.completion_tokens
    prompt = await engine.render(turn)
    for count in range(1, len(token_ids)):
        name, before = f"after-{count}", token_ids[:count]
        steps = engine.generate(prompt, max_output_tokens=64, request_id=name, said=before)
        async with aclosing(steps):
            again = [step async for step in steps]
        assert text_of(again, ReasoningDelta) == text_of(whole, ReasoningDelta), count
        assert [call.arguments for call in ending(again).calls] == ['{"expression": "17 * 23"}'], count
        assert again[-1].usage.completion_tokens == len(token_ids)
        assert again[-1].usage.prompt_tokens == prompt.tokens


async def test_stop_text_ends_the_turn_and_is_not_said(engine: Engine) -> None:
    steps = await answer(engine, user("count", sampling=Sampling(temperature=0, stop=("three",))), "stop")
    assert text_of(steps, ContentDelta).strip() == "one two"
    assert steps[-1].end is not None
    assert steps[-1].end.reason is StopReason.STOP


async def test_a_stop_token_ends_the_turn_and_is_not_said(engine: Engine) -> None:
    three = await token(engine, "three ")
    steps = await answer(engine, user("count", sampling=greedy(stop_token_ids=(three,))), "stop-token")
    assert text_of(steps, ContentDelta) == "one two "
    assert ending(steps).reason is StopReason.STOP


async def test_the_stop_text_that_ended_a_turn_is_told(engine: Engine) -> None:
    most = (*"ABCDEFGHIJKLMNO", "three")  # as many as the contract allows
    steps = await answer(engine, user("count", sampling=greedy(stop=most)), "stop-text")
    assert ending(steps).stop_text == "three"


async def token(engine: Engine, text: str) -> int:
    (token_id,) = await engine.tokenize(text, special=False)
    return token_id


async def test_biases_ban_a_token_and_force_another(engine: Engine) -> None:
    """The script's next word is 143 ahead of all others; its weights are that sharp."""
    one, hello = await token(engine, "one "), await token(engine, "Hello, ")
    turn = user("count", sampling=greedy(logit_bias={one: -100, hello: 100}))
    assert text_of(await answer(engine, turn, "biased", most=2), ContentDelta) == "Hello, world."


async def test_a_penalty_keeps_a_word_from_coming_again(engine: Engine) -> None:
    hello = await token(engine, "Hello, ")
    sampling = greedy(repetition_penalty=2.0, logit_bias={hello: 80})
    steps = await answer(engine, user("count", sampling=sampling), "penalty", most=5)
    assert text_of(steps, ContentDelta) == "one two three four Hello, "


async def test_a_turn_has_the_tokens_that_it_must_have(engine: Engine) -> None:
    steps = await answer(engine, user("hello", sampling=greedy(min_output_tokens=12)), "least", most=20)
    assert steps[-1].usage.completion_tokens >= 12


async def test_a_turn_goes_on_where_the_model_would_end_it(engine: Engine) -> None:
    steps = await answer(engine, user("hello", sampling=greedy(ignore_eos=True)), "on", most=20)
    assert steps[-1].usage.completion_tokens == 20
    assert ending(steps).reason is StopReason.LENGTH


async def test_choices_are_said_apart_and_counted_together(engine: Engine) -> None:
    sampling = Sampling(temperature=0.01, choice_count=3, seed=2**63 - 1)
    steps = await answer(engine, user("hello", sampling=sampling), "choices")
    for choice in range(3):
        own = [step for step in steps if step.choice == choice]
        assert text_of(own, ContentDelta) == "Hello, world."
        assert (ending(own).reason, own[-1].choice_tokens) == (StopReason.STOP, 3)
    assert steps[-1].usage.completion_tokens == 9
    assert steps[-1].usage.prompt_tokens == steps[0].usage.prompt_tokens


async def test_choices_that_could_not_differ_are_refused(engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match="temperature above 0") as refused:
        await engine.render(user("hello", sampling=greedy(choice_count=2)))
    (violation,) = refused.value.violations
    assert violation.field == "sampling.choice_count"


async def test_choices_keep_to_one_ceiling(engine: Engine) -> None:
    prompt = await engine.render(user("count", sampling=Sampling(choice_count=4)))
    granted = 6
    steps = engine.generate(prompt, max_output_tokens=50, request_id="shared", ceiling=lambda: granted)
    async with aclosing(steps):
        async for step in steps:
            assert step.usage.completion_tokens <= max(granted, 1)
            if step.usage.completion_tokens == granted:
                granted += 5
                if granted > 30:
                    break
    await wait_until_idle(engine)


async def test_every_token_comes_with_its_logprob(engine: Engine) -> None:
    steps = await answer(engine, user("hello", sampling=greedy(top_logprobs=2)), "logprobs")
    told = [each for delta in said(steps) if isinstance(delta, ContentDelta) for each in delta.logprobs]
    assert b"".join(each.text for each in told) == b"Hello, world.<|im_end|>"
    for delta in said(steps):
        assert isinstance(delta, ContentDelta)
        assert delta.text in (b"".join(each.text for each in delta.logprobs).decode(), "")
    for each in told:
        assert each.logprob is not None
        assert each.logprob > math.log(0.5)  # the script's next word is by far the likeliest
        assert each.top[0].token_id == each.token_id
        assert len(each.top) == 2


async def test_chosen_tokens_alone_have_no_alternatives(engine: Engine) -> None:
    steps = await answer(engine, user("hello", sampling=greedy(top_logprobs=0)), "chosen")
    told = [each for delta in said(steps) if isinstance(delta, ContentDelta) for each in delta.logprobs]
    assert len(told) == 3
    assert not any(each.top for each in told)


async def test_reasoning_and_calls_keep_their_logprobs_apart(engine: Engine) -> None:
    turn = user("17 * 23?", tools=(CALCULATOR,), sampling=greedy(top_logprobs=0))
    steps = await answer(engine, turn, "call-logprobs")
    told = [each for delta in said(steps) if isinstance(delta, ReasoningDelta) for each in delta.logprobs]
    assert b"The calculator will know." in b"".join(each.text for each in told)
    assert not any(isinstance(delta, ContentDelta) and delta.logprobs for delta in said(steps))


@pytest.mark.parametrize(
    ("form", "answers"),
    [
        (OutputForm(FormKind.CHOICES, choices=("maybe", "never")), r"maybe|never"),
        (OutputForm(FormKind.REGEX, "[0-9]{3}-[0-9]{2}"), r"[0-9]{3}-[0-9]{2}"),
        (OutputForm(FormKind.GRAMMAR, 'root ::= ("ab" | "cd") "!"'), r"(ab|cd)!"),
    ],
    ids=lambda given: given.kind.value if isinstance(given, OutputForm) else "",
)
async def test_an_answer_keeps_to_its_form(engine: Engine, form: OutputForm, answers: str) -> None:
    steps = await answer(engine, user("hello", form=form), f"form-{form.kind.value}")
    assert re.fullmatch(answers, text_of(steps, ContentDelta))
    assert ending(steps).reason is StopReason.STOP


async def test_a_stop_token_that_a_form_may_need_is_refused(engine: Engine) -> None:
    dash, start = [(await engine.tokenize(text, special=False))[0] for text in ("-", "<|im_start|>")]
    form = OutputForm(FormKind.REGEX, "[0-9]{3}-[0-9]{2}")
    spoken, mark = (greedy(stop_token_ids=(token,)) for token in (dash, start))
    with pytest.raises(StructuredOutputInvalid) as refused:
        await engine.render(user("hello", form=form, sampling=spoken))
    assert refused.value.metadata["field"] == "structured_output"
    forced = user("hello", tools=(CALCULATOR,), tool_choice=ToolChoice(CallMode.REQUIRED), sampling=spoken)
    with pytest.raises(StructuredOutputInvalid) as refused:
        await engine.render(forced)
    assert refused.value.metadata["field"] == "tool_choice"
    steps = await answer(engine, user("hello", form=form, sampling=mark), "marked")
    assert re.fullmatch(form.text, text_of(steps, ContentDelta))


async def test_choices_are_proven_as_the_grammar_that_the_engine_makes_of_them() -> None:
    """64 of 1,024 characters take the compiler two seconds, and twice as many far more than twice that."""
    from services.inference.vllm.forms import proof

    asked = proof(OutputForm(FormKind.CHOICES, choices=("maybe", "never")))
    assert asked == ("grammar", 'root ::= "maybe" | "never"', "structured_output.choices")


async def test_an_answer_keeps_to_its_schema(engine: Engine) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Rome", "Oslo"]}, "warm": {"type": "boolean"}},
        "required": ["city", "warm"],
        "additionalProperties": False,
    }
    form = OutputForm(FormKind.JSON_SCHEMA, json.dumps(schema))
    steps = await answer(engine, user("hello", form=form, sampling=await without(engine, BLANKS)), "schema")
    told = json.loads(text_of(steps, ContentDelta))
    assert told["city"] in ("Rome", "Oslo")
    assert isinstance(told["warm"], bool)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "uniqueItems": True},
        {"type": "nonsense"},
        {"$ref": "#/$defs/nowhere"},
    ],
    ids=["keyword", "type", "reference"],
)
async def test_a_schema_that_no_answer_can_keep_to_is_refused(engine: Engine, schema: dict[str, Any]) -> None:
    with pytest.raises(StructuredOutputInvalid) as refused:
        await engine.render(user("hello", form=OutputForm(FormKind.JSON_SCHEMA, json.dumps(schema))))
    assert refused.value.metadata["field"] == "structured_output.json_schema"


async def test_reasoning_before_a_form_is_free(engine: Engine) -> None:
    """The prompt leaves the reasoning open, as it does for who brings tools."""
    form = OutputForm(FormKind.CHOICES, choices=("maybe", "never"))
    turn = user("hello", tools=(CALCULATOR,), form=form, tool_choice=ToolChoice(CallMode.NONE))
    steps = await answer(engine, turn, "free")
    assert text_of(steps, ReasoningDelta) == "The calculator will know."
    assert text_of(steps, ContentDelta).strip() in ("maybe", "never")


@pytest.mark.parametrize(
    "choice",
    [ToolChoice(CallMode.REQUIRED), ToolChoice(CallMode.REQUIRED, "calculator")],
    ids=["any", "named"],
)
async def test_a_call_that_must_be_made_is_made(engine: Engine, choice: ToolChoice) -> None:
    """Even where the model would rather count. Its arguments are its own: the script's."""
    sampling = await without(engine, BLANKS + '"')
    turn = user("count", tools=(CALCULATOR,), tool_choice=choice, parallel_calls=False, sampling=sampling)
    end = ending(await answer(engine, turn, f"forced-{choice.name}", most=100))
    assert [(call.name, json.loads(call.arguments)) for call in end.calls] == [
        ("calculator", {"expression": "17 * 23"})
    ]


async def test_no_call_is_made_where_none_may_be(engine: Engine) -> None:
    turn = user("17 * 23?", tools=(CALCULATOR,), tool_choice=ToolChoice(CallMode.NONE))
    steps = await answer(engine, turn, "none")
    assert ending(steps).calls == ()
    assert "calculator" in text_of(steps, ContentDelta)


async def test_a_raw_prompt_is_gone_on_with(engine: Engine) -> None:
    steps = await answer(engine, raw("<|count|>"), "raw", most=3)
    assert text_of(steps, ContentDelta) == "one two three "


async def test_an_echo_begins_each_choice_with_the_prompt(engine: Engine) -> None:
    sampling = Sampling(temperature=0.01, top_logprobs=1, choice_count=2)
    steps = await answer(engine, raw("<|count|>one ", echo=True, sampling=sampling), "echo", most=2)
    for choice in range(2):
        own = [step for step in steps if step.choice == choice]
        assert text_of(own, ContentDelta) == "<|count|>one two three "
        told = [each for delta in said(own) if isinstance(delta, ContentDelta) for each in delta.logprobs]
        assert [each.text for each in told] == [b"<|count|>", b"one ", b"two ", b"three "]
        assert told[0].logprob is None
        assert all(each.logprob is not None and each.logprob > math.log(0.5) for each in told[1:])
    assert steps[-1].usage.completion_tokens == 4


@pytest.mark.parametrize("top_logprobs", [None, 1])
async def test_an_echo_can_be_all_of_an_answer(engine: Engine, top_logprobs: int | None) -> None:
    sampling = greedy(top_logprobs=top_logprobs, max_output_tokens=1)
    turn = Turn((), sampling=sampling, raw=RawPrompt("<|count|>one ", echo=True, echo_only=True))
    [step] = await answer(engine, turn, f"echo-only-{top_logprobs}", most=1)
    [delta] = step.deltas
    assert isinstance(delta, ContentDelta)
    assert delta.text == "<|count|>one "
    assert [each.text for each in delta.logprobs] == ([b"<|count|>", b"one "] if top_logprobs else [])
    assert step.end == TurnEnd(StopReason.LENGTH)
    assert (step.usage.prompt_tokens, step.usage.completion_tokens) == (2, 0)
    await wait_until_idle(engine)


async def test_tokens_go_there_and_back(engine: Engine) -> None:
    text = "one two \u00e9\u20ac <|im_end|>"
    token_ids = await engine.tokenize(text, special=True)
    assert await engine.detokenize(token_ids, skip_special=False) == text
    assert await engine.detokenize(token_ids, skip_special=True) == "one two \u00e9\u20ac "
    texts = await engine.token_texts(token_ids)
    assert b"".join(texts).decode() == text
    assert b"\xe2" in texts


async def test_tokens_are_gone_on_with_as_they_are(engine: Engine) -> None:
    token_ids = await engine.tokenize("<|count|>", special=False)
    turn = Turn((), sampling=GREEDY, raw=RawPrompt(tokens=token_ids))
    assert text_of(await answer(engine, turn, "tokens", most=1), ContentDelta) == "one "


async def test_a_stop_text_that_is_spread_over_tokens_is_found(engine: Engine) -> None:
    """A euro sign is three tokens here, and what is stopped at begins and ends within others."""
    assert len(await engine.tokenize("\u20ac", special=False)) == 3
    turn = user("hello", form=OutputForm(FormKind.REGEX, "ab\u20accd"), sampling=greedy(stop=("b\u20acc",)))
    steps = await answer(engine, turn, "euro")
    assert (text_of(steps, ContentDelta), ending(steps).stop_text) == ("a", "b\u20acc")


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


async def test_the_engine_tells_how_it_is_doing(engine: Engine) -> None:
    before = engine.status
    # Longer than a block of the cache on any machine.
    long = await engine.render(user("count " * 80))
    for number in range(2):
        steps = engine.generate(long, max_output_tokens=2, request_id=f"long-{number}")
        async with aclosing(steps):
            assert [step async for step in steps]
    prompt = await engine.render(user("count"))
    steps = engine.generate(prompt, max_output_tokens=900, request_id="watched")
    async with asyncio.timeout(30):
        async with aclosing(steps):
            await anext(steps)
            while engine.status.running_requests != 1 or not engine.status.kv_cache_use:
                await anext(steps)
        # What was given up shows as soon as the engine's next step is over.
        while engine.status.running_requests or engine.status.kv_cache_use:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    status = engine.status
    assert status.prefix_queries - before.prefix_queries >= 2 * long.tokens
    assert 0 < status.prefix_hits - before.prefix_hits < 2 * long.tokens
    assert (status.waiting_requests, status.preemptions) == (0, before.preemptions)


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
