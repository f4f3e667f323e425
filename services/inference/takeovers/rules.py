"""Which runs go on elsewhere after their replica was lost."""

from __future__ import annotations

from services.inference.engine.model_card import ModelCard
from services.inference.engine.options import CallMode
from services.inference.resumption.errors import RunLost
from services.inference.runs.order import ChatOrder
from services.inference.takeovers.past import Past


def can_go_on(order: ChatOrder, past: Past) -> bool:
    """Whether a run can go on without unsaying anything; its turn keeps its tokens only where they help."""
    if not goes_on_from_tokens(order):
        past.turn.token_ids = ()
    turn = past.turn
    return turn.is_over or not turn.deltas or bool(turn.token_ids) or says_the_same_again(order)


def refuse_another(past: Past, card: ModelCard, variant: str) -> None:
    """Hold a run against what would answer it here.

    Raises:
        RunLost: That is another model, or another variant of one, than has begun it.
    """
    started = past.started
    if started is not None and (started.model, started.variant) != (card.name, variant):
        raise RunLost(past.run_id)


def goes_on_from_tokens(order: ChatOrder) -> bool:
    """Whether an engine that is given the tokens of a turn goes on as the one that said them.

    Not where it keeps more of a turn than its tokens: how often each was said,
    the state of a grammar, text that is held back for a stop string.
    """
    sampling = order.sampling
    return (
        sampling.choice_count == 1
        and not sampling.stop
        and not sampling.presence_penalty
        and not sampling.frequency_penalty
        and not sampling.min_output_tokens
        and sampling.top_logprobs is None
        and order.form is None
        and order.raw is None
        and order.tool_choice.mode is not CallMode.REQUIRED
    )


def says_the_same_again(order: ChatOrder) -> bool:
    """Whether a turn that is said again from its beginning says what it said."""
    sampling = order.sampling
    if sampling.choice_count > 1 or sampling.top_logprobs is not None or order.raw is not None:
        return False
    return sampling.temperature == 0 or sampling.seed is not None
