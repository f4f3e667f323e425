"""Aliases and the variants that they stand for: who is given which, and what it changes in a chat."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from parley.inference.v1 import rollout_pb2
from services.inference.engine.turn import Message, Role, Sampling
from services.inference.runs.order import ChatOrder

# Of all weights together; they are percents.
WHOLE = 100
# Finer than a percent, so that shares are as exact as a hash can make them.
PLACES = 1_000_000

_DEFAULT = Sampling()
_OVERRIDES = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_output_tokens")


@dataclass(frozen=True, slots=True)
class Variant:
    """What answers; see `parley.inference.v1.RolloutVariant`."""

    name: str
    model: str
    weight: int = 0
    system_prompt: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    shadow_percent: int = 0

    @classmethod
    def read(cls, given: rollout_pb2.RolloutVariant) -> Variant:
        """A variant as the contract has it."""
        chosen = {field.name: value for field, value in given.sampling.ListFields()}
        return cls(
            given.name,
            given.model,
            given.weight,
            given.system_prompt,
            Sampling(**chosen),
            given.shadow_percent,
        )

    def applied(self, order: ChatOrder) -> ChatOrder:
        """The order as this variant answers it."""
        messages = order.messages
        if self.system_prompt and order.raw is None:
            messages = _instructed(self.system_prompt, messages)
        return replace(
            order, model=self.model, messages=messages, sampling=_filled(order.sampling, self.sampling)
        )


@dataclass(frozen=True, slots=True)
class Alias:
    """A tenant's alias.

    Attributes:
        tenant_id: Whose it is.
        name: What requests name.
        rollout_id: Its rollout.
        variants: What it stands for.
        stable: The name of the variant that everybody is given when it is rolled back.
        serving: The name of the one that everybody is given now; empty while callers are shared out.
        guardrails: What the variants beside the stable one are held to meanwhile.
    """

    tenant_id: str
    name: str
    rollout_id: str
    variants: tuple[Variant, ...]
    stable: str
    serving: str = ""
    guardrails: rollout_pb2.RolloutGuardrails = field(default_factory=rollout_pb2.RolloutGuardrails)

    @classmethod
    def read(cls, tenant_id: str, given: rollout_pb2.Rollout) -> Alias:
        """An alias as the contract has it."""
        return cls(
            tenant_id,
            given.name,
            given.rollout_id,
            tuple(map(Variant.read, given.variants)),
            given.stable_variant_name,
            given.serving_variant_name,
            given.guardrails,
        )

    @property
    def models(self) -> frozenset[str]:
        """The models that a caller may be answered by."""
        if self.serving:
            return frozenset({self.variant(self.serving).model})
        return frozenset(variant.model for variant in self.variants if variant.weight)

    def variant(self, name: str) -> Variant:
        """The variant of this name.

        Raises:
            StopIteration: There is none.
        """
        return next(variant for variant in self.variants if variant.name == name)

    def shadows(self, run_id: str) -> list[Variant]:
        """The variants that are asked too what a run was asked."""
        if self.serving:
            return []
        place = _place(self.rollout_id, run_id) * WHOLE
        return [variant for variant in self.variants if place < variant.shadow_percent * PLACES]

    def given_to(self, user_id: str) -> Variant:
        """The variant of a user: the same at every replica, for as long as the weights are."""
        if self.serving:
            return self.variant(self.serving)
        place = _place(self.tenant_id, self.name, user_id) * WHOLE
        for variant in self.variants:
            place -= variant.weight * PLACES
            if place < 0:
                return variant
        return self.variant(self.stable)


@dataclass(frozen=True, slots=True)
class Assignment:
    """A variant of an alias, given to the caller of a chat.

    Attributes:
        alias: The alias.
        variant: The variant.
        missed: The name of the one that the caller would be given, if its model were there.
    """

    alias: Alias
    variant: Variant
    missed: str = ""


def _place(*names: str) -> int:
    """Where somebody stands among `PLACES`; ids and names hold no zero byte."""
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return int.from_bytes(digest[:8], "big") % PLACES


def _instructed(prompt: str, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Messages after instructions. Templates take one message of them, so a chat's own join these."""
    if messages and messages[0].role is Role.SYSTEM:
        joined = replace(messages[0], content=f"{prompt}\n\n{messages[0].content}")
        return (joined, *messages[1:])
    return (Message(Role.SYSTEM, prompt), *messages)


def _filled(asked: Sampling, defaults: Sampling) -> Sampling:
    """What is asked for, with defaults where nothing is said and the request allows them."""
    chosen = {name: getattr(defaults, name) for name in _unsaid(asked)}
    if asked.choice_count > 1 and chosen.get("temperature") == 0:
        del chosen["temperature"]
    if (most := chosen.get("max_output_tokens")) is not None:
        chosen["max_output_tokens"] = max(most, asked.min_output_tokens)
    return replace(asked, **chosen)


def _unsaid(asked: Sampling) -> Iterable[str]:
    return [name for name in _OVERRIDES if getattr(asked, name) == getattr(_DEFAULT, name)]
