"""What tells turns apart; found by walking the types, so that no field is forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from operator import attrgetter
from typing import Any, get_args, get_type_hints

import pytest

from services.inference.engine.model_card import ModelCard
from services.inference.engine.port import Prompt
from services.inference.engine.turn import Message, Role, Sampling, ToolCall, ToolSpec, Turn
from services.inference.images.image import Image
from services.inference.runs.order import CacheMode
from services.inference.turn_cache.key import TurnRequest, may_share

PICTURE = Image.of(b"a file", "image/png", 1)
FULL = Turn(
    messages=(Message(Role.USER, "Hi", "because", (ToolCall("1", "add", "{}"),), "1", (PICTURE,)),),
    tools=(ToolSpec("add", "Adds.", {"type": "object", "properties": {"a": {}}}),),
    sampling=Sampling(),
)
REQUEST = TurnRequest("tenant-1", ModelCard("m", 100, fingerprint="f"), Prompt(3, identity=b"p"), FULL, 10)


def changed(value: Any, hint: Any) -> Any:
    """Another value of the same kind, found by the type where there is none yet."""
    match value:
        case bool():
            return not value
        case Enum():
            return next(other for other in type(value) if other is not value)
        case int() | float():
            return value + 1
        case str():
            return value + "x"
        case bytes():
            return value + b"x"
        case Mapping():
            return {**value, "x": 1}
        case tuple() if value:
            return value[1:]
    simple = {part for part in (hint, *get_args(hint)) if isinstance(part, type)}
    for kind, made in ((bool, True), (int, 3), (float, 0.5), (str, "x"), (bytes, b"x")):
        if kind in simple:
            return made
    return (something(get_args(hint)[0]),) if value == () else something(hint)


def something(hint: Any) -> Any:
    """A value of a type that has none by default."""
    for kind in (hint, *get_args(hint)):
        if is_dataclass(kind):
            hints = get_type_hints(kind)
            return kind(**{each.name: something(hints[each.name]) for each in fields(kind)})  # type: ignore[operator]
        if isinstance(kind, type) and issubclass(kind, Enum):
            return next(iter(kind))
        if kind in (bool, int, float, str, bytes):
            return kind(1) if kind is not bytes else b"x"
    return {}


def changes(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Copies of a value, each with one part changed, all the way down."""
    hints = get_type_hints(type(value))
    for each in filter(attrgetter("compare"), fields(value)):
        part, name = getattr(value, each.name), f"{path}.{each.name}"
        yield name, replace(value, **{each.name: changed(part, hints[each.name])})
        inner = part[0] if isinstance(part, tuple) and part else part
        if is_dataclass(inner):
            for below, other in changes(inner, name):
                yield below, replace(value, **{each.name: (other,) if isinstance(part, tuple) else other})


CHANGES = dict(changes(FULL))


def test_every_part_of_a_turn_is_in_the_walk() -> None:
    assert ".messages.images.digest" in CHANGES
    assert {".messages.content", ".tools.parameters", ".sampling.seed", ".reasoning"} <= CHANGES.keys()
    assert {f".sampling.{each.name}" for each in fields(Sampling)} <= CHANGES.keys()


@pytest.mark.parametrize("part", CHANGES)
def test_a_turn_that_differs_in_one_part_has_another_key(part: str) -> None:
    assert replace(REQUEST, turn=CHANGES[part]).key(b"e") != REQUEST.key(b"e")


def test_a_picture_is_in_the_key_by_its_digest_alone() -> None:
    """A key must not cost what a file of megabytes costs to be written out."""
    (message,) = FULL.messages
    emptied = replace(PICTURE, data=b"")
    same = replace(FULL, messages=(replace(message, images=(emptied,)),))
    assert replace(REQUEST, turn=same).key(b"e") == REQUEST.key(b"e")


def test_the_same_turn_has_the_same_key_however_its_schema_is_written() -> None:
    spec = ToolSpec("add", "Adds.", {"properties": {"a": {}}, "type": "object"})
    assert replace(REQUEST, turn=replace(FULL, tools=(spec,))).key(b"e") == REQUEST.key(b"e")


@pytest.mark.parametrize(
    "other",
    [
        replace(REQUEST, tenant_id="tenant-2"),
        replace(REQUEST, card=ModelCard("n", 100, fingerprint="f")),
        replace(REQUEST, card=ModelCard("m", 100, fingerprint="g")),
        replace(REQUEST, prompt=Prompt(3, identity=b"q")),
        replace(REQUEST, max_output_tokens=11),
    ],
    ids=["tenant", "model", "fingerprint", "prompt", "tokens"],
)
def test_who_asks_whom_for_how_much_is_in_the_key(other: TurnRequest) -> None:
    assert other.key(b"e") != REQUEST.key(b"e")
    assert REQUEST.key(b"f") != REQUEST.key(b"e")


@pytest.mark.parametrize(
    ("mode", "sampling", "shared"),
    [
        (CacheMode.DETERMINISTIC, Sampling(temperature=0), True),
        (CacheMode.DETERMINISTIC, Sampling(temperature=1, seed=0), True),
        (CacheMode.DETERMINISTIC, Sampling(temperature=0.1), False),
        (CacheMode.DETERMINISTIC, Sampling(), False),
        (CacheMode.OFF, Sampling(temperature=0), False),
        (CacheMode.ON, Sampling(temperature=1), True),
    ],
)
def test_what_may_be_shared(mode: CacheMode, sampling: Sampling, shared: bool) -> None:
    assert may_share(mode, sampling, REQUEST.prompt, REQUEST.card) is shared
    assert not may_share(mode, sampling, Prompt(3), REQUEST.card)
    assert not may_share(mode, sampling, REQUEST.prompt, ModelCard("m", 100))
