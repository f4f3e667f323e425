"""What a rollout must be before it may begin."""

from __future__ import annotations

from collections.abc import Callable

from parley.inference.v1 import rollout_pb2, rollout_service_pb2
from services.inference.rollouts.errors import RolloutInvalid, VariantModelUnavailable
from services.inference.rollouts.variants import WHOLE

Ready = Callable[[str], bool]
"""Whether some pool has a model ready for chats."""


def new_rollout(asked: rollout_service_pb2.CreateRolloutRequest) -> rollout_pb2.Rollout:
    """The rollout that a request describes.

    Raises:
        RolloutInvalid: Its parts do not fit together.
    """
    names = [variant.name for variant in asked.variants]
    if len(set(names)) < len(names):
        raise RolloutInvalid("variants", "two have the same name")
    total = sum(variant.weight for variant in asked.variants)
    if total != WHOLE:
        raise RolloutInvalid("variants.weight", f"the weights are {total} together, and must be {WHOLE}")
    stable = asked.stable_variant_name or names[0]
    if stable not in names:
        raise RolloutInvalid("stable_variant_name", f"there is no variant {stable!r}")
    for variant in asked.variants:
        if variant.shadow_percent and (variant.weight or variant.name == stable):
            fault = f"{variant.name!r} must have weight 0, and not be the stable variant"
            raise RolloutInvalid("variants.shadow_percent", fault)
    return rollout_pb2.Rollout(
        name=asked.name,
        variants=asked.variants,
        stable_variant_name=stable,
        guardrails=asked.guardrails,
    )


def check_models(rollout: rollout_pb2.Rollout, ready: Ready) -> None:
    """Refuse variants that could not answer.

    Raises:
        VariantModelUnavailable: No pool has the model of one ready.
    """
    for variant in rollout.variants:
        if not ready(variant.model):
            raise VariantModelUnavailable(variant.name, variant.model)


def chosen(rollout: rollout_pb2.Rollout, name: str, ready: Ready) -> str:
    """The variant to promote.

    Args:
        rollout: The rollout.
        name: As it was asked for; empty for the only one beside the stable one.
        ready: See `Ready`.

    Raises:
        RolloutInvalid: There is no such variant, or several could be meant.
        VariantModelUnavailable: No pool has its model ready.
    """
    others = [each for each in rollout.variants if each.name != rollout.stable_variant_name]
    found = [each for each in rollout.variants if each.name == name] if name else others
    if len(found) != 1:
        names = ", ".join(each.name for each in rollout.variants)
        raise RolloutInvalid("variant_name", f"name one of {names}")
    if not ready(found[0].model):
        raise VariantModelUnavailable(found[0].name, found[0].model)
    return found[0].name
