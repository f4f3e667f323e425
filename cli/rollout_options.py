"""The variants of a rollout, as they are written on a command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from cli.failures import CommandError
from parley.inference.v1 import rollout_pb2

_VARIANT = re.compile(r"(?P<name>[^=]+)=(?P<model>.+)@(?P<weight>\d{1,3})")
_PROMPT = re.compile(r"(?P<name>[^=]+)=(?P<text>.+)", re.DOTALL)
_SAMPLING = re.compile(r"(?P<name>[^=.]+)\.(?P<field>[a-z_]+)=(?P<number>[\d.]+)")

_SHADOW = re.compile(r"(?P<name>[^=]+)=(?P<percent>\d{1,3})")
_GUARD = re.compile(r"(?P<name>[a-z0-9-]+)=(?P<number>\d+(\.\d+)?)")
_GUARDS = {
    "error-rate": "max_error_rate",
    "first-token-p95": "max_first_token_p95",
    "tokens-per-second": "min_tokens_per_second",
    "tool-failure-rate": "max_tool_failure_rate",
    "thumbs-down-rate": "max_thumbs_down_rate",
}
GUARDS = ", ".join(_GUARDS)

Variants = Mapping[str, rollout_pb2.RolloutVariant]


def read_variants(
    variants: Iterable[str], prompts: Iterable[str], samplings: Iterable[str], shadows: Iterable[str]
) -> list[rollout_pb2.RolloutVariant]:
    """The variants that a person writes.

    Raises:
        CommandError: One is written wrongly, or something is said of a variant that is none.
    """
    made = [_variant(text) for text in variants]
    by_name = {each.name: each for each in made}
    for text in prompts:
        found = _matched(_PROMPT, text, "NAME=TEXT")
        _of(by_name, found["name"]).system_prompt = found["text"]
    for text in samplings:
        _set_sampling(by_name, text)
    for text in shadows:
        found = _matched(_SHADOW, text, "NAME=PERCENT")
        _of(by_name, found["name"]).shadow_percent = int(found["percent"])
    return made


def read_guardrails(
    guards: Iterable[str], min_samples: int | None, window_minutes: int | None
) -> rollout_pb2.RolloutGuardrails:
    """What variants are held to, as a person writes it.

    Raises:
        CommandError: One is written wrongly.
    """
    made = rollout_pb2.RolloutGuardrails(min_samples=min_samples)
    if window_minutes is not None:
        made.window.FromSeconds(60 * window_minutes)
    for text in guards:
        found = _matched(_GUARD, text, "NAME=NUMBER")
        field, number = _GUARDS.get(found["name"]), float(found["number"])
        if field is None:
            raise CommandError(f"Variants are not held to {found['name']}.", f"Name one of {GUARDS}.")
        if field == "max_first_token_p95":
            made.max_first_token_p95.FromMilliseconds(round(1000 * number))
        else:
            setattr(made, field, number)
    return made


def _variant(text: str) -> rollout_pb2.RolloutVariant:
    found = _matched(_VARIANT, text, "NAME=MODEL@PERCENT")
    return rollout_pb2.RolloutVariant(name=found["name"], model=found["model"], weight=int(found["weight"]))


def _set_sampling(variants: Variants, text: str) -> None:
    found = _matched(_SAMPLING, text, "NAME.FIELD=NUMBER")
    options = _of(variants, found["name"]).sampling
    field = options.DESCRIPTOR.fields_by_name.get(found["field"])
    if field is None:
        names = ", ".join(each.name for each in options.DESCRIPTOR.fields)
        raise CommandError(f"Variants have no {found['field']}.", f"Set one of {names}.")
    number = int if field.cpp_type == field.CPPTYPE_UINT32 else float
    try:
        setattr(options, field.name, number(found["number"]))
    except ValueError:
        raise CommandError(f"{text} is no number that {field.name} takes.") from None


def _matched(pattern: re.Pattern[str], text: str, form: str) -> re.Match[str]:
    found = pattern.fullmatch(text)
    if found is None:
        raise CommandError(f"{text!r} has another form than {form}.")
    return found


def _of(variants: Variants, name: str) -> rollout_pb2.RolloutVariant:
    if name not in variants:
        raise CommandError(f"There is no variant {name!r}.", f"Name one of {', '.join(variants)}.")
    return variants[name]
