"""The reference of the API: a page per service, made from the contracts and their comments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from google.api import annotations_pb2
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)
from google.protobuf.descriptor_pb2 import MethodOptions
from google.rpc import code_pb2

from docs.reference_comments import comments
from docs.reference_rules import field_rules, is_required, message_rules
from parley.policy.v1 import policy_pb2
from services.rpc.errors import REASON_PREFIX
from services.rpc.policies import Access, access_table

FOLDER = "reference"
ERRORS = "errors.md"
NOTE = "<!-- Made by docs/generate.py from protos/; change the contracts instead. -->"
ROOT = "parley."
_REPEATS = {
    MethodOptions.NO_SIDE_EFFECTS: "changes nothing; may be sent again",
    MethodOptions.IDEMPOTENT: "does no more than once; may be sent again",
    MethodOptions.IDEMPOTENCY_UNKNOWN: "does it again; clients never do so by themselves",
}
_STREAMS = {
    (False, False): "one message, one answer",
    (False, True): "one message, a stream of answers",
    (True, False): "a stream of messages, one answer",
    (True, True): "streams in both directions",
}
Type = Descriptor | EnumDescriptor


class Reference:
    """Knows each service, what was said of it, and the one page that describes a type."""

    def __init__(self, services: Sequence[ServiceDescriptor], reasons: Sequence[EnumDescriptor]) -> None:
        self._services = services
        self._reasons = reasons
        self._told = comments()
        self._homes = homes(services)

    def pages(self) -> dict[str, str]:
        """Every page's text, by file name."""
        made = {file_of(service): self._service(service) for service in self._services}
        parts = {"README.md": self._index(), ERRORS: self._errors()} | made
        return {name: "\n".join([NOTE, "", *lines, ""]) for name, lines in parts.items()}

    def _index(self) -> Iterator[str]:
        yield from ["# API reference", ""]
        yield "Every service, method, message and error of the contracts, from their own comments and rules."
        yield f"The reasons that errors have: [errors]({ERRORS}). Among a method's callers, `edge` is"
        yield "everyone outside; the others are processes of the mesh, by their certificates."
        yield from ["", "| Service | What for |", "|---|---|"]
        for service in self._services:
            yield f"| [`{service.full_name}`]({file_of(service)}) | {cell(self._told[service.full_name])} |"

    def _service(self, service: ServiceDescriptor) -> Iterator[str]:
        table = access_table([service.full_name])
        yield from [f"# {service.full_name}", "", self._told[service.full_name], ""]
        yield f"Its errors: [reasons of `{service.file.package}`]({ERRORS}#{anchor(service.file.package)})"
        yield f"and [of every service]({ERRORS}#{anchor('parley.policy.v1')})."
        yield from ["", "## Methods"]
        for method in service.methods:
            yield from self._method(method, table[f"/{service.full_name}/{method.name}"])
        for title, kind in (("Messages", Descriptor), ("Enums", EnumDescriptor)):
            found = sorted(
                (each for each in self._homes if isinstance(each, kind) and self._homes[each] is service),
                key=short,
            )
            if found:
                yield from ["", f"## {title}"]
            for each in found:
                yield from self._message(each) if isinstance(each, Descriptor) else self._enum(each)

    def _method(self, method: MethodDescriptor, access: Access) -> Iterator[str]:
        asked, answered = (
            self._link(each, method.containing_service) for each in (method.input_type, method.output_type)
        )
        yield from ["", f"### {method.name}", "", self._told[method.full_name], "", "| | |", "|---|---|"]
        yield f"| Takes | {'stream of ' if method.client_streaming else ''}{asked} |"
        yield f"| Gives | {'stream of ' if method.server_streaming else ''}{answered} |"
        yield f"| Kind | {_STREAMS[method.client_streaming, method.server_streaming]} |"
        yield f"| Sent again | {_REPEATS[method.GetOptions().idempotency_level]} |"
        yield f"| Needs | {needs(access)} |"
        yield f"| Callers | {', '.join(sorted(access.peers))} |"
        for path in http_paths(method):
            yield f"| HTTP | `{path}` |"

    def _message(self, message: Descriptor) -> Iterator[str]:
        yield from ["", f"### {short(message)}", "", self._told[message.full_name]]
        if message.fields:
            yield from ["", "| Field | Type | What it is | Rules |", "|---|---|---|---|"]
        for field in message.fields:
            kind = self._type(field, self._homes[message])
            told, rules = cell(self._told[field.full_name]), cell(self._rules(field))
            yield f"| `{field.name}` | {kind} | {told} | {rules} |"
        if among := message_rules(message):
            yield from ["", "Rules:", "", *(f"- {rule}" for rule in among)]

    def _enum(self, enum: EnumDescriptor) -> Iterator[str]:
        yield from ["", f"### {short(enum)}", "", self._told[enum.full_name], ""]
        yield from ["| Value | Number | What it is |", "|---|---|---|"]
        for value in enum.values:
            told = cell(self._told[f"{enum.full_name}.{value.name}"])
            yield f"| `{value.name}` | {value.number} | {told} |"

    def _errors(self) -> Iterator[str]:
        yield from ["# Errors", ""]
        yield "Every error carries `google.rpc.ErrorInfo` with a reason, a domain and metadata (AIP-193)."
        for enum in self._reasons:
            root, service, *_ = enum.file.package.split(".")
            yield from ["", f"## {enum.file.package}", "", f"Domain `{service}.{root}`.", ""]
            yield from ["| Reason | Status | Metadata | Cause |", "|---|---|---|---|"]
            for value in enum.values[1:]:
                policy: policy_pb2.ReasonPolicy = value.GetOptions().Extensions[policy_pb2.reason]
                keys = ", ".join(f"`{key}`" for key in policy.metadata_keys)
                cause = cell(self._told[f"{enum.full_name}.{value.name}"])
                name = value.name.removeprefix(REASON_PREFIX)
                yield f"| `{name}` | {code_pb2.Code.Name(policy.code)} | {keys} | {cause} |"

    def _type(self, field: FieldDescriptor, page: ServiceDescriptor) -> str:
        message = field.message_type
        if message is not None and message.GetOptions().map_entry:
            key, value = (message.fields_by_name[name] for name in ("key", "value"))
            return f"map of {self._plain(key, page)} to {self._plain(value, page)}"
        plain = self._plain(field, page)
        if field.is_repeated:
            return f"list of {plain}"
        return f"optional {plain}" if field.has_presence and message is None and not oneof(field) else plain

    def _plain(self, field: FieldDescriptor, page: ServiceDescriptor) -> str:
        held = field.message_type or field.enum_type
        return self._link(held, page) if held is not None else type_name(field)

    def _rules(self, field: FieldDescriptor) -> str:
        group = oneof(field)
        one = f"one of `{group.name}`{', which is required' if is_required(group) else ''}" if group else ""
        return "; ".join(rule for rule in (one, field_rules(field)) if rule)

    def _link(self, held: Type, page: ServiceDescriptor) -> str:
        home = self._homes.get(held)
        if home is None:
            return f"`{held.full_name}`"
        return f"[`{short(held)}`]({'' if home is page else file_of(home)}#{anchor(short(held))})"


def homes(services: Iterable[ServiceDescriptor]) -> dict[Type, ServiceDescriptor]:
    """The service whose page describes a type: the first to reach it, of its own package where one does."""
    found: dict[Type, ServiceDescriptor] = {}
    for service in services:
        for held in reached(service):
            if held.file.package == service.file.package:
                found.setdefault(held, service)
    for service in services:
        for held in reached(service):
            found.setdefault(held, service)
    return found


def reached(service: ServiceDescriptor) -> list[Type]:
    """Our types that a service's methods take and give, and those within them."""
    found: dict[Type, None] = {}
    waiting: list[Type] = [
        each for method in service.methods for each in (method.input_type, method.output_type)
    ]
    while waiting:
        held = waiting.pop()
        if held in found or not held.full_name.startswith(ROOT):
            continue
        found[held] = None
        if isinstance(held, Descriptor):
            waiting += _within(held)
    return [each for each in found if not (isinstance(each, Descriptor) and each.GetOptions().map_entry)]


def _within(message: Descriptor) -> Iterator[Type]:
    for field in message.fields:
        held = field.message_type or field.enum_type
        if held is not None:
            yield held


def oneof(field: FieldDescriptor) -> Any:
    """The group of which only one is set; None for a field that is in none, or is only optional."""
    group = field.containing_oneof
    return None if group is None or group.name == f"_{field.name}" else group


def type_name(field: FieldDescriptor) -> str:
    """A simple type, as contracts write it."""
    return next(
        name.removeprefix("TYPE_").lower()
        for name, number in vars(FieldDescriptor).items()
        if name.startswith("TYPE_") and number == field.type
    )


def needs(access: Access) -> str:
    """What a caller must show, in words."""
    if not access.needs_token:
        return "nothing"
    return f"`{access.permission}`" if access.permission else "any token"


def http_paths(method: MethodDescriptor) -> list[str]:
    """The method's JSON paths, from its `google.api.http` option."""
    rule: Any = method.GetOptions().Extensions[annotations_pb2.http]
    bindings = [(each, each.WhichOneof("pattern")) for each in (rule, *rule.additional_bindings)]
    return [f"{verb.upper()} {getattr(each, verb)}" for each, verb in bindings if verb]


def file_of(service: ServiceDescriptor) -> str:
    """The name of a service's page."""
    return f"{service.full_name.removeprefix(ROOT)}.md"


def short(held: Type) -> str:
    """A type's name within its package."""
    return held.full_name.removeprefix(f"{held.file.package}.")


def anchor(heading: str) -> str:
    """The link to a heading, as forges make it."""
    return heading.lower().replace(".", "")


def cell(text: str) -> str:
    """Text for a cell of a table."""
    return " ".join(text.replace("|", "\\|").split())
