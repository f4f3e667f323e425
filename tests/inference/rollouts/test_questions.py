"""What shadows of other pools are to be asked, on its way through a real store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from services.inference.calling.catalogue import ServerTool
from services.inference.engine.options import FormKind, OutputForm
from services.inference.engine.turn import Message, Role, Sampling, ToolSpec
from services.inference.images.image import Image
from services.inference.rollouts.questions import (
    MAX_BYTES,
    MOST_WAITING,
    QUESTIONS,
    WAIT_SECONDS,
    Question,
    Questions,
)
from services.inference.runs.order import Approvals, ChatOrder
from services.ledger.ledger import open_store
from services.rpc.errors import DependencyUnavailable

PLACE = QUESTIONS + "large"
PICTURE = Image.of(b"\x89PNG\xff\x00", "image/png", at=2)
SPEC = ToolSpec(
    "calculator", "Sums up.", {"type": "object", "properties": {"expression": {"enum": [1, None]}}}
)
ORDER = ChatOrder(
    model="large",
    messages=(Message(Role.USER, "Hi", images=(PICTURE,)),),
    sampling=Sampling(temperature=0.5, logit_bias={3: -1.5}),
    approvals=Approvals(approved=frozenset({"calculator"})),
    form=OutputForm(FormKind.JSON_OBJECT),
)


def question(text: str = "Hi", **fields: Any) -> Question:
    order = replace(ORDER, messages=(replace(ORDER.messages[0], content=text),))
    known: dict[str, Any] = {
        "rollout_id": "rollout-1",
        "variant": "shadow",
        "tenant_id": "tenant-1",
        "request_id": "request-1",
        "order": order,
        "tools": (ServerTool(SPEC, 1, "tools.calculator"),),
    }
    return Question(**{**known, **fields})


async def test_a_question_arrives_as_it_was_and_once(store: Redis) -> None:
    questions = Questions(store)
    await questions.leave(question())
    assert 0 < await store.ttl(PLACE) <= WAIT_SECONDS
    taken = await questions.take("large")
    assert taken == question()
    assert taken.order.messages[0].images[0].data == PICTURE.data
    assert await questions.take("large") is None


async def test_only_the_newest_wait_and_the_oldest_of_them_goes_first(store: Redis) -> None:
    questions = Questions(store)
    for number in range(MOST_WAITING + 3):
        await questions.leave(question(str(number)))
    waiting = [await questions.take("large") for _ in range(MOST_WAITING)]
    assert [each and each.order.messages[0].content for each in waiting] == [
        str(number) for number in range(3, MOST_WAITING + 3)
    ]
    assert await questions.take("large") is None


async def test_what_is_too_long_is_left_out(store: Redis) -> None:
    await Questions(store).leave(question("x" * MAX_BYTES))
    assert await store.llen(PLACE) == 0


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"{}",
        b"[" * 100_000,
        question(order=replace(ORDER, model="another")).model_dump_json().encode(),
        question().model_dump_json().replace("{", '{"new": 1, ', 1).encode(),
    ],
    ids=["no JSON", "nothing", "deep", "for another model", "of a newer release"],
)
async def test_what_does_not_fit_is_passed_over(store: Redis, body: bytes) -> None:
    await store.rpush(PLACE, body)
    await Questions(store).leave(question())
    assert await Questions(store).take("large") == question()


async def test_a_store_that_is_away_is_told_of() -> None:
    store = open_store("redis://127.0.0.1:1/0")
    with pytest.raises(DependencyUnavailable):
        await Questions(store).leave(question())
    with pytest.raises(DependencyUnavailable):
        await Questions(store).take("large")
    await store.aclose()
