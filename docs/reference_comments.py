"""The comments of the contracts, which the stubs do not carry."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

from protos.generate import compile_image

_FILE = descriptor_pb2.FileDescriptorProto.DESCRIPTOR.fields_by_name
_MESSAGE = descriptor_pb2.DescriptorProto.DESCRIPTOR.fields_by_name
# What holds named things, by the kind of the holder: the field, and the kind of what it holds.
_PARTS: Mapping[str, tuple[tuple[int, str, str], ...]] = {
    "file": (
        (_FILE["message_type"].number, "message_type", "message"),
        (_FILE["enum_type"].number, "enum_type", "enum"),
        (_FILE["service"].number, "service", "service"),
    ),
    "message": (
        (_MESSAGE["field"].number, "field", "leaf"),
        (_MESSAGE["nested_type"].number, "nested_type", "message"),
        (_MESSAGE["enum_type"].number, "enum_type", "enum"),
        (_MESSAGE["oneof_decl"].number, "oneof_decl", "leaf"),
    ),
    "enum": (
        (descriptor_pb2.EnumDescriptorProto.DESCRIPTOR.fields_by_name["value"].number, "value", "leaf"),
    ),
    "service": (
        (descriptor_pb2.ServiceDescriptorProto.DESCRIPTOR.fields_by_name["method"].number, "method", "leaf"),
    ),
    "leaf": (),
}

Place = tuple[int, ...]


def comments() -> dict[str, str]:
    """The comment of everything that has one, by full name (a value of an enum stands beneath it)."""
    with tempfile.TemporaryDirectory() as scratch:
        image = Path(scratch) / "image.binpb"
        compile_image(Path(scratch), image)
        files = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file
    return {name: text for file in files for name, text in _of_file(file)}


def _of_file(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[str, str]]:
    told = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
    for name, path in _places(file, "file", file.package, ()):
        if text := _tidy(told.get(path, "").splitlines()):
            yield name, text


def _places(holder: Any, kind: str, name: str, path: Place) -> Iterator[tuple[str, Place]]:
    """The full name of everything that a holder holds, and its path in the source."""
    for number, attribute, held in _PARTS[kind]:
        for index, part in enumerate(getattr(holder, attribute)):
            place = (*path, number, index)
            yield f"{name}.{part.name}", place
            yield from _places(part, held, f"{name}.{part.name}", place)


def _tidy(lines: Iterable[str]) -> str:
    """A comment without its margin."""
    return "\n".join(line.removeprefix(" ").rstrip() for line in lines).strip()
