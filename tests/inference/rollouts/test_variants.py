"""Who is given which variant, and what it changes in a chat."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.inference.engine.turn import Message, Role, Sampling
from services.inference.rollouts.variants import Alias, Variant
from services.inference.runs.order import ChatOrder

USERS = [f"user-{number}" for number in range(4000)]
SHARES = (80, 15, 5)


def alias(*weights: int, serving: str = "") -> Alias:
    variants = tuple(Variant(f"v{place}", "scripted", weight) for place, weight in enumerate(weights))
    return Alias("tenant-1", "assistant", "rollout-1", variants, "v0", serving)


def test_shares_are_as_the_weights_say() -> None:
    given = [alias(*SHARES).given_to(user).name for user in USERS]
    for place, share in enumerate(SHARES):
        assert given.count(f"v{place}") / len(USERS) == pytest.approx(share / 100, abs=0.02)


def test_who_has_the_candidate_keeps_it_when_its_share_grows() -> None:
    small = {user for user in USERS if alias(95, 5).given_to(user).name == "v1"}
    large = {user for user in USERS if alias(75, 25).given_to(user).name == "v1"}
    assert small < large


def test_it_is_others_on_whom_another_alias_is_tried() -> None:
    one = {user for user in USERS if alias(50, 50).given_to(user).name == "v1"}
    other = replace(alias(50, 50), name="other")
    two = {user for user in USERS if other.given_to(user).name == "v1"}
    assert len(one & two) / len(one) == pytest.approx(0.5, abs=0.05)


def test_one_without_weight_is_given_to_nobody_until_it_serves() -> None:
    assert {alias(100, 0).given_to(user).name for user in USERS} == {"v0"}
    assert {alias(100, 0, serving="v1").given_to(user).name for user in USERS} == {"v1"}
    assert alias(100, 0).models == {"scripted"}


@pytest.mark.parametrize(
    ("asked", "defaults", "chosen"),
    [
        (Sampling(temperature=0.0), Sampling(temperature=1.0), Sampling(temperature=0.0)),
        (Sampling(choice_count=2), Sampling(temperature=0.0), Sampling(choice_count=2)),
        (
            Sampling(min_output_tokens=9),
            Sampling(max_output_tokens=5),
            Sampling(min_output_tokens=9, max_output_tokens=9),
        ),
        (Sampling(seed=1), Sampling(top_p=0.5), Sampling(seed=1, top_p=0.5)),
    ],
    ids=["the request's first", "several choices", "least tokens", "beside others"],
)
def test_a_variants_sampling_fills_what_a_request_leaves_open(
    asked: Sampling, defaults: Sampling, chosen: Sampling
) -> None:
    order = ChatOrder("assistant", (Message(Role.USER, "Hi"),), asked)
    answered = Variant("v", "scripted", sampling=defaults).applied(order)
    assert (answered.sampling, answered.model, answered.messages) == (chosen, "scripted", order.messages)
