"""How tokens are chosen, and what form they are held to, as OpenAI's requests and vLLM's say it."""

from __future__ import annotations

import json
from typing import Any

from parley.inference.v1 import chat_pb2, completion_pb2, structured_output_pb2
from services.inference.errors import ParameterInvalid, ParameterUnsupported
from services.inference.openai_compat.bodies import write
from services.inference.openai_compat.checking import put, reading

FIELDS = frozenset(
    {
        "frequency_penalty",
        "ignore_eos",
        "logit_bias",
        "min_p",
        "min_tokens",
        "n",
        "presence_penalty",
        "repetition_penalty",
        "response_format",
        "seed",
        "stop",
        "stop_token_ids",
        "structured_outputs",
        "temperature",
        "top_k",
        "top_p",
    }
)
"""The fields that are read here."""

_SAME_NAME = (
    "frequency_penalty",
    "min_p",
    "presence_penalty",
    "repetition_penalty",
    "seed",
    "temperature",
    "top_k",
    "top_p",
)


class Sampled:
    """What the answers of a request are to have, by its sampling."""

    request: chat_pb2.ChatRequest | completion_pb2.CompleteRequest

    @property
    def choice_count(self) -> int:
        """How many answers there are."""
        return self.request.sampling.choice_count or 1

    @property
    def has_logprobs(self) -> bool:
        """Whether tokens come with their log-probabilities."""
        return self.request.sampling.HasField("top_logprobs")


def sample(read: Any, sampling: chat_pb2.SamplingOptions) -> None:
    """Take over how tokens are chosen.

    Raises:
        ParameterInvalid: A number is beyond what its field can hold.
    """
    for name in _SAME_NAME:
        value = getattr(read, name)
        if value is not None:
            put(sampling, name, value, name)
    # Responses have neither.
    least, choices = getattr(read, "min_tokens", 0), getattr(read, "n", 1)
    if least:
        put(sampling, "min_output_tokens", least, "min_tokens")
    if choices not in (None, 1):
        put(sampling, "choice_count", choices, "n")
    sampling.ignore_eos = read.ignore_eos
    sampling.stop.extend([read.stop] if isinstance(read.stop, str) else read.stop or ())
    with reading("stop_token_ids"):
        sampling.stop_token_ids.extend(read.stop_token_ids or ())
    with reading("logit_bias"):
        for token, bias in (read.logit_bias or {}).items():
            sampling.logit_bias[int(token)] = bias


def hold_to_form(read: Any, form: structured_output_pb2.StructuredOutput) -> None:
    """Take over the form of the answer, by OpenAI's field or by vLLM's.

    Raises:
        ParameterInvalid: A form is not what it must be, or there are two.
        ParameterUnsupported: A form is not served.
    """
    asked = read.response_format
    if asked is None or asked.type == "text":
        hold_to_constraint(read.structured_outputs, form)
        return
    if read.structured_outputs is not None:
        raise ParameterInvalid("structured_outputs", "there is a response_format, too")
    schema = asked.json_schema.json_schema if asked.type == "json_schema" else None
    hold_to_format(asked.type, schema, form, "response_format")


def hold_to_format(
    kind: str, schema: Any, form: structured_output_pb2.StructuredOutput, parameter: str
) -> None:
    """Take over a form that OpenAI's API knows.

    Raises:
        ParameterInvalid: A schema is missing, or cannot be written.
        ParameterUnsupported: There is no such form.
    """
    match kind:
        case "json_object":
            form.json_object.SetInParent()
        case "json_schema" if schema is not None:
            with reading(parameter):
                form.json_schema = write(schema).decode()
        case "json_schema":
            raise ParameterInvalid(parameter, "the schema is missing")
        case _:
            raise ParameterUnsupported(f"{parameter}.type")


def hold_to_constraint(asked: Any, form: structured_output_pb2.StructuredOutput) -> None:
    """Take over a form as vLLM tells it; None stands for any.

    Raises:
        ParameterInvalid: It is not what it must be.
        ParameterUnsupported: It is not served.
    """
    if asked is None:
        return
    with reading("structured_outputs"):
        if asked.json is not None:
            form.json_schema = asked.json if isinstance(asked.json, str) else json.dumps(asked.json)
        elif asked.regex is not None:
            form.regex = asked.regex
        elif asked.choice is not None:
            form.choices.texts.extend(asked.choice)
        elif asked.grammar is not None:
            form.grammar = asked.grammar
        elif asked.json_object:
            form.json_object.SetInParent()
        else:
            raise ParameterUnsupported("structured_outputs")
