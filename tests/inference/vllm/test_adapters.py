"""LoRA adapters in a real vLLM."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from services.inference.adapters.adapted_engine import AdaptedEngine
from services.inference.adapters.errors import AdapterInvalid
from services.inference.adapters.port import Adapter
from services.inference.engine.port import Engine
from services.inference.engine.turn import Sampling
from services.inference.errors import ModelLacks
from services.inference.reading.step import ContentDelta
from tests.inference.adapters.made import make_adapter
from tests.inference.tiny_adapter import make_twist
from tests.inference.vllm.asked import REAL_ENGINE, answer, raw, running, text_of, user

pytestmark = REAL_ENGINE


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(model: Path) -> AsyncIterator[Engine]:
    async with running(model, max_adapters=2, max_adapter_rank=8) as engine:
        yield engine


def twist(model: Path, folder: Path, number: int, as_after: str) -> Adapter:
    """The model, which goes on after its first word as after this one."""
    made = make_twist(model, folder / f"twist-{number}", "Hello, ", as_after)
    return Adapter(f"tiny:{number}", f"{number:016}", number, made)


async def test_adapters_change_answers_until_they_are_unloaded(
    engine: Engine, model: Path, tmp_path: Path
) -> None:
    twists = twist(model, tmp_path, 1, "three hundred "), twist(model, tmp_path, 2, "It is ")
    host = engine.adapter_host
    assert host is not None
    assert (host.most_adapters, host.most_rank) == (2, 8)
    engines = {"base": engine}
    for adapter in twists:
        await host.add(adapter)
        engines[adapter.model] = AdaptedEngine(engine, adapter)

    async def answers(stage: str) -> list[str]:
        """What all of them say at once."""
        asked = [answer(each, user("Hi"), f"{stage} {name}", most=8) for name, each in engines.items()]
        return [text_of(steps, ContentDelta) for steps in await asyncio.gather(*asked)]

    twisted = ["Hello, and ninety-one.", "Hello, three hundred and ninety-one."]
    assert await answers("loaded") == ["Hello, world.", *twisted]
    await host.remove(twists[0])
    await host.add(replaced := twist(model, tmp_path, 3, "It is "))
    engines[twists[0].model] = AdaptedEngine(engine, replaced)
    assert await answers("replaced") == ["Hello, world.", twisted[1], twisted[1]]
    for adapter in (twists[1], replaced):
        await host.remove(adapter)
    engines = {"base": engine}
    assert await answers("unloaded") == ["Hello, world."]


async def test_what_the_engine_cannot_load_is_told_and_forgotten(
    engine: Engine, model: Path, tmp_path: Path
) -> None:
    host = engine.adapter_host
    assert host is not None
    good = twist(model, tmp_path, 11, "It is ")
    for number, wrong in enumerate(({"use_dora": True}, {"r": 16}, {"bias": "all"}), start=12):
        folder = make_adapter(tmp_path / f"wrong-{number}", **wrong)
        with pytest.raises(AdapterInvalid) as caught:
            await host.add(Adapter("tiny:wrong", "0" * 16, number, folder))
        assert str(tmp_path) not in caught.value.message
    other = make_adapter(tmp_path / "parts", {"base_model.model.x.y.lora_A.weight": np.zeros((1, 8))})
    with pytest.raises(AdapterInvalid):
        await host.add(Adapter("tiny:parts", "0" * 16, 20, other))
    await host.add(good)
    adapted = AdaptedEngine(engine, good)
    steps = await answer(adapted, user("Hi"), "after refusals", most=8)
    assert text_of(steps, ContentDelta) == "Hello, three hundred and ninety-one."
    await host.remove(good)


async def test_revisions_have_names_of_their_own_in_the_engine() -> None:
    """Its prefix cache knows them by those, and their folder is the same."""
    from services.inference.vllm.adapters import lora_request

    first, second = (Adapter("tiny:a", revision, 1, Path("a")) for revision in ("one", "two"))
    assert lora_request(first).lora_name != lora_request(second).lora_name


async def test_an_echo_with_log_probabilities_is_refused_before_it_kills_the_engine(engine: Engine) -> None:
    with pytest.raises(ModelLacks):
        await engine.render(raw("Hello", echo=True, sampling=Sampling(temperature=0, top_logprobs=1)))
    assert (await engine.render(raw("Hello", echo=True))).tokens
