"""The engine port on a real vLLM, with a model whose weights spell known texts."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
from contextlib import aclosing
from pathlib import Path

import pytest

from services.inference.engine.options import FormKind, OutputForm, RawPrompt
from services.inference.engine.port import Engine
from services.inference.engine.turn import Sampling, Turn
from services.inference.errors import (
    ContextOverflow,
    EngineFailed,
    MessagesInvalid,
)
from services.inference.reading.step import (
    ContentDelta,
    ReasoningDelta,
    Step,
    StopReason,
    TurnEnd,
)
from services.inference.runs.order import CacheMode
from services.inference.turn_cache.cache import TurnCache
from services.inference.turn_cache.source import SharedTurns
from services.ledger.ledger import open_store
from services.rpc.errors import InvalidRequest
from tests.inference.tiny_model import CONTEXT_LENGTH
from tests.inference.vllm.asked import (
    CALCULATOR,
    GREEDY,
    REAL_ENGINE,
    answer,
    ending,
    greedy,
    raw,
    said,
    text_of,
    user,
)

pytestmark = REAL_ENGINE


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
