"""What one turn of a run is asked, and what is made of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from services.inference.calling.errors import NoToolToCall, ToolNameTaken, ToolNotOffered
from services.inference.calling.tool_calls import Offer
from services.inference.engine.model_card import Capability, ModelCard
from services.inference.engine.options import CallMode, ToolChoice
from services.inference.engine.turn import Message, Sampling, ToolSpec, Turn
from services.inference.errors import ModelLacks, TokenUnknown
from services.inference.reading.step import Step, StopReason, ToolCallDelta
from services.inference.runs.events import ChoiceEnd, FinishReason
from services.inference.runs.order import ChatOrder
from services.inference.runs.transcript import TurnRecord


def check_options(order: ChatOrder, card: ModelCard, offer: Offer) -> None:
    """Hold an order against the model and what it is offered.

    Raises:
        TokenUnknown: A token is beyond the vocabulary.
        ToolNameTaken: A tool of the client has the name of another.
        ToolNotOffered: A tool that is approved, or must be called, is none.
        NoToolToCall: A call is asked for, and there is no tool.
        ModelLacks: A call is asked for, and the model makes none; or it cannot see.
    """
    check_images(order.messages, card)
    _check_tokens(order, card.vocabulary_size)
    offered = {tool.spec.name for tool in offer.tools}
    for name in sorted(order.client_tools.names & offered):
        raise ToolNameTaken(name)
    unknown = order.approvals.approved - offered if offer.error is None else ()
    for name in sorted(unknown):
        raise ToolNotOffered(name, offered)
    if order.tool_choice.mode is CallMode.REQUIRED:
        _check_forced(order.tool_choice.name, card, offered | order.client_tools.names, offer)


def check_images(messages: Iterable[Message], card: ModelCard) -> None:
    """Refuse to show images to a model that takes none.

    Raises:
        ModelLacks: It takes none, and there are some.
    """
    if Capability.IMAGES not in card.capabilities and any(message.images for message in messages):
        raise ModelLacks(card.name, "messages.content.image")


def _check_forced(name: str, card: ModelCard, tools: Collection[str], offer: Offer) -> None:
    if not tools or (offer.error is not None and name not in tools):
        raise NoToolToCall
    if name and name not in tools:
        raise ToolNotOffered(name, tools)
    if not card.supports_tools:
        raise ModelLacks(card.name, "tool_choice")


def _check_tokens(order: ChatOrder, vocabulary_size: int) -> None:
    sampling = order.sampling
    fields = {
        "sampling.stop_token_ids": sampling.stop_token_ids,
        "sampling.logit_bias": sampling.logit_bias,
        "tokens.ids": order.raw.tokens if order.raw else (),
    }
    for field, tokens in fields.items():
        if tokens and max(tokens) >= vocabulary_size:
            raise TokenUnknown(field, max(tokens), vocabulary_size)


def next_turn(
    order: ChatOrder, messages: tuple[Message, ...], tools: tuple[ToolSpec, ...], *, first: bool
) -> Turn:
    """What the model is asked next."""
    choice = order.tool_choice if first else order.tool_choice.after_a_turn
    return Turn(
        messages,
        tools,
        order.sampling,
        order.reasoning,
        order.effort,
        choice if tools else ToolChoice(),
        order.parallel_calls,
        order.form,
        order.raw,
    )


def first_call_only(step: Step) -> Step:
    """The step without what it says of calls after the first."""
    deltas = tuple(delta for delta in step.deltas if not isinstance(delta, ToolCallDelta) or delta.index == 0)
    end = replace(step.end, calls=step.end.calls[:1]) if step.end is not None else None
    return replace(step, deltas=deltas, end=end)


def max_output_tokens(sampling: Sampling, card: ModelCard, room: int) -> int:
    """Tokens that each choice may have: what was asked for or the model's default, within the room."""
    asked = sampling.max_output_tokens or card.max_output_tokens or room
    return min(asked, room)


def choice_ends(record: TurnRecord, reason: FinishReason) -> tuple[ChoiceEnd, ...]:
    """How the choices of a run's last turn ended, when the run ends for this reason."""
    several = len(record.choices) > 1
    return tuple(
        ChoiceEnd(
            number,
            _own_reason(choice.end.reason) if several and choice.end is not None else reason,
            choice.tokens,
            choice.end.stop_text if choice.end is not None else "",
        )
        for number, choice in enumerate(record.choices)
    )


def _own_reason(reason: StopReason) -> FinishReason:
    return FinishReason.STOP if reason is StopReason.STOP else FinishReason.LENGTH
