"""What vLLM and its compiler of forms know of them."""

from __future__ import annotations

import json
from typing import Any

from services.inference.engine.options import CallMode, FormKind, OutputForm
from services.inference.engine.turn import Turn
from services.inference.errors import StructuredOutputInvalid
from services.inference.forms.forms import FIELD, SCHEMA_FIELD, check_schema
from services.inference.vllm import environment  # noqa: F401 - it stands before vLLM's own imports

# isort: split
from vllm.sampling_params import StructuredOutputsParams
from vllm.v1.structured_output.backend_xgrammar import has_xgrammar_unsupported_json_features
from vllm.v1.structured_output.utils import choice_as_grammar
from xgrammar import TokenizerInfo


def refuse_beyond_engine(form: OutputForm) -> None:
    """Refuse a schema with keywords that the engine would pass over.

    Raises:
        StructuredOutputInvalid: It has some.
    """
    if form.kind is not FormKind.JSON_SCHEMA:
        return
    if has_xgrammar_unsupported_json_features(check_schema(form.text)):
        raise StructuredOutputInvalid(
            SCHEMA_FIELD,
            "it has keywords, or some together, that no answer can be held to while it is written",
        )


def refuse_spoken_stops(turn: Turn, tokenizer: Any) -> None:
    """Refuse stop tokens that a form may need: the engine keeps them back until the form is complete.

    Raises:
        StructuredOutputInvalid: There are some.
    """
    forced = turn.tool_choice.mode is CallMode.REQUIRED
    if turn.form is None and not forced:
        return
    for token in turn.sampling.stop_token_ids:
        if not _is_mark(token, tokenizer):
            fault = f"it may need the stop token {token}, which has a text; say that text as a stop text"
            raise StructuredOutputInvalid("tool_choice" if forced else FIELD, fault)


def _is_mark(token: int, tokenizer: Any) -> bool:
    """Whether a token is one that no text has, such as the end of an answer."""
    whole, spoken = (tokenizer.decode([token], skip_special_tokens=skip) for skip in (False, True))
    return bool(whole) and not spoken


def proof(form: OutputForm) -> tuple[str, str, str]:
    """What is compiled to prove a form, its kind and its text, and the field that asks for it."""
    if form.kind is FormKind.CHOICES:
        return FormKind.GRAMMAR.value, choice_as_grammar(list(form.choices)), f"{FIELD}.{form.kind.value}"
    return form.kind.value, form.text, FIELD


def constraints(given: StructuredOutputsParams) -> list[tuple[str, str]]:
    """The kinds and texts of what a parser asks of the engine's compiler."""
    schema = given.json if given.json is None or isinstance(given.json, str) else json.dumps(given.json)
    texts = {"json_schema": schema, "structural_tag": given.structural_tag, "grammar": given.grammar}
    return [(kind, text) for kind, text in texts.items() if text]


def tokens_for_forms(tokenizer: Any, vocabulary_size: int) -> str:
    """The tokens of a model, as its compiler of forms serializes them; empty where it cannot read them."""
    try:
        return str(TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocabulary_size).serialize_json())
    except (AttributeError, TypeError, ValueError):
        # Mistral's own tokenizers: their forms are proven on bytes alone.
        return ""
