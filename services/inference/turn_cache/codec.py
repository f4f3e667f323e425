"""Turns and steps as plain data and back, derived from the domain's own types.

Nothing is listed here, so that a field which a type gains is in every key and
in every entry from its first day. What is read may come from anywhere: it is
held against the types, and is refused where it does not fit.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

Decode = Callable[[Any], Any]


def encode(value: object) -> Any:
    """A value as plain data; what is made of parts carries its type's name first.

    Raises:
        TypeError: A part is of a type that has no place here.
    """
    match value:
        case Enum():
            return value.value
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return value.hex()
        case tuple() | list():
            return [encode(each) for each in value]
        case Mapping():
            return {str(key): encode(each) for key, each in value.items()}
        case frozenset():
            return sorted(encode(each) for each in value)
    kind: Any = type(value)
    return [kind.__name__, *(encode(getattr(value, name)) for name in _names(kind))]


def decode(kind: Any, plain: Any) -> Any:
    """A value of this type from plain data.

    Raises:
        ValueError: It does not fit the type.
    """
    return _decoder(kind)(plain)


def text(value: object) -> bytes:
    """A value as text: equal values have equal texts."""
    plain = encode(value)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        errors="surrogatepass"
    )


def shape(kind: Any) -> str:
    """What a type is made of, all the way down: changes whenever entries would read otherwise."""
    seen: dict[str, str] = {}
    _describe(kind, seen)
    return "\n".join(f"{name}: {parts}" for name, parts in sorted(seen.items()))


def _describe(kind: Any, seen: dict[str, str]) -> None:
    for part in get_args(kind):
        _describe(part, seen)
    if isinstance(kind, type) and issubclass(kind, Enum):
        seen[kind.__name__] = repr([member.value for member in kind])
    if not _is_made(kind) or kind.__name__ in seen:
        return
    hints = get_type_hints(kind)
    seen[kind.__name__] = repr([(name, str(hints[name])) for name in _names(kind)])
    for name in _names(kind):
        _describe(hints[name], seen)


def _is_made(kind: Any) -> bool:
    """Whether a type is made of named parts."""
    return is_dataclass(kind)


@cache
def _names(kind: Any) -> tuple[str, ...]:
    """The fields by which values are told apart: what stands for others, as a digest for a file, suffices."""
    return tuple(each.name for each in fields(kind) if each.compare)


@cache
def _decoder(kind: Any) -> Decode:
    """Reads values of a type."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _one_of([(member, _decoder(member)) for member in get_args(kind)])
    if origin is tuple:
        return _items(get_args(kind))
    if _is_made(kind):
        return _parts(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    if kind is bytes:
        return lambda plain: bytes.fromhex(_exactly(str, plain))
    if kind is float:
        return lambda plain: float(plain) if type(plain) is int else _exactly(float, plain)
    if kind in (str, int, bool, type(None)):
        return lambda plain: _exactly(kind, plain)
    raise TypeError(f"there is no reading a {kind}")


def _parts(kind: Any) -> Decode:
    hints = get_type_hints(kind)
    readers = [_decoder(hints[name]) for name in _names(kind)]

    def read(plain: Any) -> Any:
        if type(plain) is not list or len(plain) != len(readers) + 1 or plain[0] != kind.__name__:
            raise ValueError(f"this is no {kind.__name__}")
        return kind(*(reader(part) for reader, part in zip(readers, plain[1:], strict=True)))

    return read


def _items(kinds: tuple[Any, ...]) -> Decode:
    """A tuple of one type, however long, or of one type a place."""
    endless = len(kinds) == 2 and kinds[1] is Ellipsis
    readers = [_decoder(kind) for kind in kinds if kind is not Ellipsis]

    def read(plain: Any) -> Any:
        if type(plain) is not list or not (endless or len(plain) == len(readers)):
            raise ValueError("this is no such row")
        if endless:
            return tuple(map(readers[0], plain))
        return tuple(reader(part) for reader, part in zip(readers, plain, strict=True))

    return read


def _one_of(members: list[tuple[Any, Decode]]) -> Decode:
    """Made things are told by their names, the rest by trying."""
    named = {kind.__name__: reader for kind, reader in members if _is_made(kind)}
    others = [reader for kind, reader in members if not _is_made(kind)]

    def read(plain: Any) -> Any:
        if type(plain) is list and plain and type(plain[0]) is str and plain[0] in named:
            return named[plain[0]](plain)
        for reader in others:
            try:
                return reader(plain)
            except ValueError:
                continue
        raise ValueError("this is none of what it could be")

    return read


def _exactly(kind: type, plain: Any) -> Any:
    if type(plain) is not kind:
        raise ValueError(f"this is no {kind.__name__}")
    return plain
