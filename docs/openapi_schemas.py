"""The schemas of messages as JSON, with the bounds that stand beside their fields."""

from __future__ import annotations

from typing import Any

from buf.validate import validate_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

Json = dict[str, Any]

_INTEGERS = {
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_SINT32: "int32",
    FieldDescriptor.TYPE_FIXED32: "uint32",
}
# Numbers that doubles cannot hold are texts in JSON.
_LONG_INTEGERS = {
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_SINT64: "int64",
    FieldDescriptor.TYPE_FIXED64: "uint64",
}
_SIMPLE: dict[int, Json] = {
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    **{kind: {"type": "integer", "format": name} for kind, name in _INTEGERS.items()},
    **{kind: {"type": "string", "format": name} for kind, name in _LONG_INTEGERS.items()},
}
_WELL_KNOWN: dict[str, Json] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "examples": ["1.5s"]},
    "google.protobuf.FieldMask": {"type": "string", "examples": ["name,scopes"]},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Any": {"type": "object", "properties": {"@type": {"type": "string"}}},
}
_TEXT_BOUNDS = {"min_len": "minLength", "max_len": "maxLength", "pattern": "pattern"}
_NUMBER_BOUNDS = {"gte": "minimum", "gt": "exclusiveMinimum", "lte": "maximum", "lt": "exclusiveMaximum"}


class Schemas:
    """The schemas of messages that were asked for, and of those that they hold."""

    def __init__(self) -> None:
        """Begin with none."""
        self._known: dict[str, Json] = {}

    def components(self) -> Json:
        """All of them, by name."""
        return dict(self._known)

    def of(self, name: str) -> Json:
        """A reference to a message's schema, or the schema of one that JSON writes in its own way."""
        return self._message(descriptor_pool.Default().FindMessageTypeByName(name))

    def field(self, field: FieldDescriptor) -> Json:
        """The schema of a field."""
        message = field.message_type
        if message is not None and message.GetOptions().map_entry:
            return {"type": "object", "additionalProperties": self._one(message.fields_by_name["value"])}
        rules = field.GetOptions().Extensions[validate_pb2.field]
        if field.is_repeated:
            listed = {"type": "array", "items": {**self._one(field), **_bounds(rules.repeated.items)}}
            most = rules.repeated.max_items
            return {**listed, "maxItems": most} if most else listed
        return {**self._one(field), **_bounds(rules)}

    def _one(self, field: FieldDescriptor) -> Json:
        if field.message_type is not None:
            return self._message(field.message_type)
        if field.enum_type is not None:
            return _enum(field.enum_type)
        return dict(_SIMPLE[field.type])

    def _message(self, message: Descriptor) -> Json:
        name = message.full_name
        if name in _WELL_KNOWN:
            return dict(_WELL_KNOWN[name])
        if name not in self._known:
            self._known[name] = {}  # known already where it holds itself
            self._known[name] = {
                "type": "object",
                "properties": {field.json_name: self.field(field) for field in message.fields},
            }
        return {"$ref": f"#/components/schemas/{name}"}


def _enum(enum: EnumDescriptor) -> Json:
    return {"type": "string", "enum": [value.name for value in enum.values]}


def _bounds(rules: Any) -> Json:
    """The bounds that JSON Schema can say; the rest the service says."""
    kind = rules.WhichOneof("type")
    names = _TEXT_BOUNDS if kind == "string" else _NUMBER_BOUNDS
    if kind not in ("string", "int32", "uint32", "float", "double"):
        return {}
    typed = getattr(rules, kind)
    return {
        said: _plain(getattr(typed, rule))
        for rule, said in names.items()
        if rule in typed.DESCRIPTOR.fields_by_name and typed.HasField(rule)
    }


def _plain(value: Any) -> Any:
    """A float of single precision as people write it."""
    return float(f"{value:.7g}") if isinstance(value, float) else value
