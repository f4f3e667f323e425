"""A tool's form: a control for each parameter of its JSON Schema, and the arguments of what was filled in.

The form knows types and what must be there. Every other rule of the schema is
shown, and checked by the platform alone, so that the two cannot differ.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import grpc

from parley_client.errors import ParleyError, Violation
from web.administration.fields import Fields
from web.playground.schema import Rule, bounds, in_words, properties

MAX_CONTROLS = 64
"""Parameters that a form shows; a tool with more has its arguments written as JSON."""

MAX_LINE_CHARACTERS = 4096
"""The longest text that is written in one line; paths are the longest."""

MAX_DIGITS = 400
"""Characters of a number."""


class Kind(StrEnum):
    """How a parameter is filled in."""

    LINE = "line"
    LINES = "lines"
    WHOLE = "whole"
    NUMBER = "number"
    TICK = "tick"
    CHOICE = "choice"
    JSON = "json"


@dataclass(frozen=True)
class Control:
    """What one parameter is filled in with.

    Attributes:
        name: The parameter's.
        type: Its type, for people.
        description: What it means.
        bounds: What its value must keep to, for people.
        required: Whether the tool must be given it.
        default: What stands there at first, as text.
        choices: Values and their names, of a CHOICE.
        shape: The JSON type that a JSON value must have; empty: any.
        sample: A value that it could have, as text.
    """

    name: str
    kind: Kind
    type: str
    description: str
    bounds: str
    required: bool
    default: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    shape: str = ""
    sample: str = ""

    @property
    def field(self) -> str:
        """Its name in the form, where other fields stand beside it."""
        return f"argument.{self.name}"

    def written(self, value: Any) -> str:
        """A value as it stands in the control.

        Raises:
            ValueError: It cannot stand there.
        """
        if value is None and self.kind is not Kind.JSON:
            return ""
        if self.kind in (Kind.LINE, Kind.LINES):
            if not isinstance(value, str) or (self.kind is Kind.LINE and "\n" in value):
                raise ValueError(self.name)
            return value
        if self.kind is Kind.TICK:
            if not isinstance(value, bool):
                raise ValueError(self.name)
            return "on" if value else ""
        text = json.dumps(value, ensure_ascii=False, indent=2 if isinstance(value, dict) else None)
        if self.kind is Kind.CHOICE and text not in dict(self.choices):
            raise ValueError(self.name)
        return text


def controls(schema: str) -> tuple[Control, ...] | None:
    """The controls of a schema's parameters; None where a form would not do."""
    rules, required = properties(schema)
    if rules is None or len(rules) > MAX_CONTROLS:
        return None
    return tuple(_control(name, rule, name in required) for name, rule in rules.items())


def _control(name: str, rule: Rule, required: bool) -> Control:
    kind = _kind(rule, required)
    plain = Control(
        name=name,
        kind=kind,
        type=in_words(rule),
        description=str(rule.get("description", "")),
        bounds=bounds(rule),
        required=required,
        choices=_choices(rule, required) if kind is Kind.CHOICE else (),
        shape=str(rule.get("type", ""))
        if kind is Kind.JSON and rule.get("type") in ("array", "object")
        else "",
    )
    samples = rule.get("examples")
    sample = samples[0] if isinstance(samples, list) and samples else None
    return Control(
        **{**vars(plain), "default": _written(plain, rule.get("default")), "sample": _written(plain, sample)}
    )


def _written(control: Control, value: Any) -> str:
    """A value of the schema as text; empty where there is none, or none that could stand there."""
    try:
        return "" if value is None else control.written(value)
    except ValueError:
        return ""


def _kind(rule: Rule, required: bool) -> Kind:
    if _choices(rule, required):
        return Kind.CHOICE
    kind = rule.get("type")
    if kind == "boolean":
        return Kind.TICK
    if kind == "string":
        return Kind.LINES if _is_long(rule) else Kind.LINE
    return {"integer": Kind.WHOLE, "number": Kind.NUMBER}.get(str(kind), Kind.JSON)


def _is_long(rule: Rule) -> bool:
    most = rule.get("maxLength")
    shown = [rule.get("default"), *(rule.get("examples") or ())]
    return (
        not isinstance(most, int)
        or most > MAX_LINE_CHARACTERS
        or any(isinstance(text, str) and "\n" in text for text in shown)
    )


def _choices(rule: Rule, required: bool) -> tuple[tuple[str, str], ...]:
    """What can be chosen; nothing where a value is written."""
    values = rule.get("enum")
    if rule.get("type") == "boolean" and not isinstance(rule.get("default"), bool):
        values = [True, False]
    if not isinstance(values, list):
        return ()
    named = [(json.dumps(value, ensure_ascii=False), str(value)) for value in values if value is not None]
    settled = not rule.get("nullable") and (required or rule.get("default") is not None)
    return tuple(named) if settled else (("", ""), *named)


def filled(form: Sequence[Control], arguments: Mapping[str, Any]) -> Fields:
    """What stands in a form for these arguments.

    Raises:
        ParleyError: The form has no place for one of them.
    """
    known = {control.name: control for control in form}
    values = {control.field: [control.default] for control in form}
    for name, value in arguments.items():
        try:
            values[known[name].field] = [known[name].written(value)]
        except (KeyError, ValueError):
            raise _refused([Violation(name, "has no place in the form; keep to JSON")]) from None
    return Fields(values)


def arguments(form: Sequence[Control], fields: Fields) -> dict[str, Any]:
    """The arguments that were filled in. What was left at its default is left out.

    Raises:
        ParleyError: Something is missing or of another type.
    """
    given: dict[str, Any] = {}
    violations = []
    for control in form:
        text = next(iter(fields.all(control.field)), "")
        if text == control.default and not control.required:
            continue
        try:
            if control.kind is Kind.TICK or text or (control.required and control.kind in _TEXTS):
                given[control.name] = _READ[control.kind](control, text)
            elif control.required:
                violations.append(Violation(control.name, "must be there"))
        except (ValueError, RecursionError) as error:
            violations.append(Violation(control.name, str(error)))
    if violations:
        raise _refused(violations)
    return given


def arguments_of_json(text: str) -> dict[str, Any]:
    """The arguments that were written as JSON.

    Raises:
        ParleyError: It is no JSON object.
    """
    try:
        value = json.loads(text.strip() or "{}", parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _refused([Violation("arguments", f"must be JSON: {error}")]) from None
    if not isinstance(value, dict):
        raise _refused([Violation("arguments", "must be a JSON object: { … }")])
    return value


def _refused(violations: Sequence[Violation]) -> ParleyError:
    return ParleyError(
        grpc.StatusCode.INVALID_ARGUMENT, "The tool was not called.", violations=tuple(violations)
    )


def _text(_control: Control, text: str) -> str:
    return text


def _tick(_control: Control, text: str) -> bool:
    return bool(text)


def _whole(_control: Control, text: str) -> int:
    try:
        return int(_short(text))
    except ValueError:
        raise ValueError("must be a whole number") from None


def _number(_control: Control, text: str) -> int | float:
    try:
        number = json.loads(_short(text), parse_constant=_no_number)
    except ValueError:
        number = None
    if not isinstance(number, int | float) or not math.isfinite(number):
        raise ValueError("must be a number")
    return number


def _short(text: str) -> str:
    """A number's text.

    Raises:
        ValueError: It is too long to be one.
    """
    if len(text) > MAX_DIGITS:
        raise ValueError(text[:MAX_DIGITS])
    return text.strip()


def _choice(control: Control, text: str) -> Any:
    if text not in dict(control.choices):
        raise ValueError("must be one of the choices")
    return json.loads(text)


def _json(control: Control, text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_no_number)
    except ValueError as error:
        raise ValueError(f"must be JSON: {error}") from None
    wanted = {"array": list, "object": dict}.get(control.shape, object)
    if not isinstance(value, wanted):
        raise ValueError("must be a list: [ … ]" if wanted is list else "must be an object: { … }")  # noqa: TRY004  # of the person's input
    return value


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


_TEXTS = (Kind.LINE, Kind.LINES)
_READ: Mapping[Kind, Callable[[Control, str], Any]] = {
    Kind.LINE: _text,
    Kind.LINES: _text,
    Kind.WHOLE: _whole,
    Kind.NUMBER: _number,
    Kind.TICK: _tick,
    Kind.CHOICE: _choice,
    Kind.JSON: _json,
}
