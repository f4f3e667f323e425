"""Holds what a body asks for to the contract's rules, and names its own fields in what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pydantic
from google.protobuf.message import Message

from services.inference.errors import ParameterInvalid
from services.rpc.errors import InvalidRequest
from services.rpc.interceptors.validation import Validation

# Where a field of the contract stands in a body; the first that matches.
_PLACES = (
    (re.compile(r"^sampling\.max_output_tokens"), "max_completion_tokens"),
    (re.compile(r"^sampling\.min_output_tokens"), "min_tokens"),
    (re.compile(r"^sampling\.choice_count"), "n"),
    (re.compile(r"^sampling\."), ""),
    (re.compile(r"^sampling$"), "min_tokens"),  # the one rule of several of its fields
    (re.compile(r"^client_tools\.tools(\[\d+\])\.parameters_schema"), r"tools\1.function.parameters"),
    (re.compile(r"^client_tools\.tools(\[\d+\])\."), r"tools\1.function."),
    (re.compile(r"^client_tools\.?"), "tools"),
    (re.compile(r"^structured_output\b.*"), "response_format"),
    (re.compile(r"^reasoning\b.*"), "reasoning_effort"),
    (re.compile(r"^(text|tokens)\b.*"), "prompt"),
    (re.compile(r"^texts\b"), "input"),
    (
        re.compile(r"^(approvals|cache|continue_conversation|conversation_id|limits|server_tools)"),
        r"parley.\1",
    ),
)


_AS_NAMED: Mapping[str, str] = {}


class Checker:
    """Checks messages that no call brought."""

    def __init__(self) -> None:
        """Check by the rules that calls are held to."""
        self._rules = Validation()

    def check(self, request: Message, named: Mapping[str, str] = _AS_NAMED) -> None:
        """Check a request that was made from a body.

        Args:
            request: The request.
            named: How the body calls fields that chat completions call otherwise.

        Raises:
            ParameterInvalid: It breaks a rule.
        """
        try:
            self._rules.on_request(request)
        except InvalidRequest as error:
            first = error.violations[0]
            place = _place(first.field)
            raise ParameterInvalid(named.get(place, place), first.description) from None


@contextmanager
def reading(parameter: str) -> Iterator[None]:
    """Read a part of a body: some parts are checked only when they are read.

    Raises:
        ParameterInvalid: It is not what it must be.
    """
    try:
        yield
    except pydantic.ValidationError as error:
        raise ParameterInvalid(parameter, error.errors(include_url=False)[0]["msg"]) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ParameterInvalid(parameter, f"it has a value that it does not take ({error})") from None


def put(target: Message, name: str, value: object, parameter: str) -> None:
    """Set a field of a message.

    Raises:
        ParameterInvalid: The field's type does not hold such a value.
    """
    try:
        setattr(target, name, value)
    except (TypeError, ValueError):
        raise ParameterInvalid(parameter, "it is out of range") from None


def _place(path: str) -> str:
    for pattern, place in _PLACES:
        if pattern.match(path):
            return pattern.sub(place, path)
    return path
