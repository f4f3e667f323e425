"""The spans of a turn of the model: how long it waited, read its prompt, and wrote.

Names and attributes are those of OpenTelemetry's conventions for generative AI, without
messages: prompts and answers stay in the house.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.trace import Span

from services.inference.engine.port import Prompt
from services.inference.reading.step import Step, TurnUsage
from services.rpc.tracing import Attributes, begin_span, end_span, reason_of, span

CHAT = gen_ai.GenAiOperationNameValues.CHAT.value
EMBEDDINGS = gen_ai.GenAiOperationNameValues.EMBEDDINGS.value
PROVIDER = "parley"
QUEUE = "queue"
PREFILL = "prefill"
DECODE = "decode"


class TurnSpans:
    """One turn's span and, within it, the phase that it is in."""

    def __init__(self, turn: Span) -> None:
        """Follow a turn that waits for its slot."""
        self._turn = turn
        self._phase = begin_span(QUEUE, within=turn)
        self._spoken = False
        self._usage = TurnUsage()
        self._stops: dict[int, str] = {}

    def seated(self) -> None:
        """The engine has the turn."""
        self._enter(PREFILL)

    def note(self, step: Step) -> None:
        """The engine made a step."""
        if not self._spoken:
            self._spoken = True
            self._enter(DECODE)
        self._usage = step.usage
        if step.end is not None:
            self._stops[step.choice] = step.end.reason.value

    def end(self, error: BaseException | None) -> None:
        """The turn is over; who left early did no wrong, but the turn has no reason of its own to stop."""
        stops = tuple(stop for _, stop in sorted(self._stops.items()))
        if error is not None and not stops:
            stops = (reason_of(error).lower(),)
        usage = self._usage
        self._turn.set_attributes(
            {
                gen_ai.GEN_AI_USAGE_INPUT_TOKENS: usage.prompt_tokens,
                gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS: usage.completion_tokens,
                gen_ai.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: usage.cached_prompt_tokens,
                gen_ai.GEN_AI_RESPONSE_FINISH_REASONS: stops,
            }
        )
        end_span(self._phase, error)
        end_span(self._turn, error)

    def _enter(self, phase: str) -> None:
        end_span(self._phase)
        self._phase = begin_span(phase, within=self._turn)


class _Untraced(TurnSpans):
    """Of a turn that nobody traces."""

    def __init__(self) -> None:
        """Follow nothing."""

    def seated(self) -> None:
        """Nobody is told."""

    def note(self, step: Step) -> None:
        """Nobody is told."""


_UNTRACED = _Untraced()


@contextmanager
def traced_turn(model: str, prompt: Prompt, max_output_tokens: int, request_id: str) -> Iterator[TurnSpans]:
    """The spans of the turn that the block generates.

    Args:
        model: Its model's name.
        prompt: Its prompt, of which the length alone is told.
        max_output_tokens: What each choice may have.
        request_id: Names it in the engine.
    """
    attributes: Attributes = {
        gen_ai.GEN_AI_OPERATION_NAME: CHAT,
        gen_ai.GEN_AI_PROVIDER_NAME: PROVIDER,
        gen_ai.GEN_AI_REQUEST_MODEL: model,
        gen_ai.GEN_AI_REQUEST_MAX_TOKENS: max_output_tokens,
        gen_ai.GEN_AI_RESPONSE_ID: request_id,
        gen_ai.GEN_AI_USAGE_INPUT_TOKENS: prompt.tokens,
    }
    turn = begin_span(f"{CHAT} {model}", attributes)
    if not turn.is_recording():
        yield _UNTRACED
        return
    spans, error = TurnSpans(turn), None
    try:
        yield spans
    except BaseException as raised:
        error = raised
        raise
    finally:
        spans.end(error)


def embeddings_span(model: str, tokens: int, request_id: str) -> AbstractContextManager[Span]:
    """Around the block that embeds texts of so many tokens."""
    attributes: Attributes = {
        gen_ai.GEN_AI_OPERATION_NAME: EMBEDDINGS,
        gen_ai.GEN_AI_PROVIDER_NAME: PROVIDER,
        gen_ai.GEN_AI_REQUEST_MODEL: model,
        gen_ai.GEN_AI_RESPONSE_ID: request_id,
        gen_ai.GEN_AI_USAGE_INPUT_TOKENS: tokens,
    }
    return span(f"{EMBEDDINGS} {model}", attributes)
