"""What a tool is, and which tools there are.

A tool is a function with typed arguments and a typed result. Write one with the
`tool` decorator, put it in a `Catalogue`, and everything else (schemas,
permission, checks, limits, the way it is run and ended) follows:

    @tool(category=Category.MATH, safety=SafetyLevel.SAFE, timeout_seconds=5)
    def double(arguments: DoubleArguments, call: WorkerCall) -> DoubleResult:
        \"\"\"Doubles a number.\"\"\"
        return DoubleResult(number=2 * arguments.number)
"""

from __future__ import annotations

import bisect
import difflib
import inspect
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from parley.tools.v1 import tool_pb2
from services.rpc.principal import Principal
from services.tools.errors import ToolDisabled, ToolNotFound
from services.tools.events import Report, Reporter
from services.tools.workspace import Owner, Workspaces

DEFAULT_MAX_OUTPUT_BYTES = 64 * 2**10


class Category(Enum):
    """A room of the catalogue; the names are those of the contract."""

    FILE = tool_pb2.CATEGORY_FILE
    SYSTEM = tool_pb2.CATEGORY_SYSTEM
    MATH = tool_pb2.CATEGORY_MATH
    DATA = tool_pb2.CATEGORY_DATA
    WEB = tool_pb2.CATEGORY_WEB
    DATABASE = tool_pb2.CATEGORY_DATABASE
    UTILITY = tool_pb2.CATEGORY_UTILITY
    MCP = tool_pb2.CATEGORY_MCP


class SafetyLevel(Enum):
    """How much harm a tool could do; the names are those of the contract."""

    SAFE = tool_pb2.SAFETY_LEVEL_SAFE
    RESTRICTED = tool_pb2.SAFETY_LEVEL_RESTRICTED
    DANGEROUS = tool_pb2.SAFETY_LEVEL_DANGEROUS


class Arguments(BaseModel):
    """What a tool takes: exactly its fields, of exactly their types, numbers finite."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ToolResult(BaseModel):
    """What a tool gives; fields that are None are left out."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def to_json(self) -> str:
        """The result as compact JSON text."""
        return self.model_dump_json(exclude_none=True)


@dataclass(frozen=True)
class WorkerCall:
    """What a tool that blocks may use while it runs, in a process of its own.

    Attributes:
        owner: For whom it runs.
        workspaces: Opens the owner's workspace.
        report: Says how far it is; waits while the reader is behind.
    """

    owner: Owner
    workspaces: Workspaces
    report: Callable[[Report], None]


async def _no_workers(part: Tool, arguments: Arguments) -> ToolResult:
    raise RuntimeError(f"this call has no worker for {part.name}, {type(arguments).__name__}")


@dataclass(frozen=True)
class LoopCall:
    """What an asynchronous tool may use while it runs, on the service's event loop.

    Attributes:
        principal: For whom it runs.
        report: Says how far it is; waits while the reader is behind.
        compute: Runs a part of the work that blocks or computes in a worker
            process. A part is a tool of its own that no catalogue holds.
        conversation_id: The conversation it runs in; empty: in none.
    """

    principal: Principal
    report: Reporter
    compute: Callable[[Tool, Arguments], Awaitable[ToolResult]] = _no_workers
    conversation_id: str = ""

    @property
    def owner(self) -> Owner:
        """Whose workspace it is to use."""
        return Owner(self.principal.tenant_id, self.principal.user_id, self.conversation_id)


@dataclass(frozen=True)
class Example:
    """A call that works: shown to people and models, and run by the test suite.

    Attributes:
        title: What the call is for.
        arguments: What it is called with.
        result: What it gives.
        varies: The result depends on time or machine; only its fields are promised.
        files: Texts of workspace files that it needs, by path.
    """

    title: str
    arguments: Mapping[str, Any]
    result: Mapping[str, Any]
    varies: bool = False
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def message(self) -> tool_pb2.ToolExample:
        """The example as the contract describes it."""
        return tool_pb2.ToolExample(
            title=self.title, arguments=compact_json(self.arguments), result=compact_json(self.result)
        )


@dataclass(frozen=True)
class Tool:
    """A tool.

    Attributes:
        name: The name by which it is called.
        category: The room of the catalogue it stands in.
        description: What it does, for models and people.
        arguments: What it takes.
        result: What it gives.
        run: Does the work: a plain function in a worker process, which is
            killed when the call ends early; a coroutine function on the event
            loop, which must never block.
        safety: How much harm it could do.
        timeout_seconds: Time that one call may take.
        max_output_bytes: Bytes that its result, and what it outputs on the way,
            may have.
        idempotent: Calling it twice is the same as calling it once.
        examples: Calls that work.
        unavailable: Why it cannot be called on this machine; empty where it can.
        waits_apart: It waits for others and computes nothing: its calls have
            turns of their own and keep no other tool from running.
        parameters_schema: The JSON Schema of its arguments as JSON text, where
            `arguments` does not make it.
    """

    name: str
    category: Category
    description: str
    arguments: type[Arguments]
    result: type[ToolResult]
    run: Callable[..., Any]
    safety: SafetyLevel
    timeout_seconds: float
    max_output_bytes: int
    idempotent: bool
    examples: Sequence[Example] = ()
    unavailable: str = ""
    waits_apart: bool = False
    parameters_schema: str = ""

    @property
    def permission(self) -> str:
        """What a caller's token must hold."""
        return f"tools.{self.category.name.lower()}.{self.name}"

    @property
    def in_worker(self) -> bool:
        """Whether it runs in a worker process."""
        return not inspect.iscoroutinefunction(self.run)

    @property
    def reference(self) -> str:
        """`module:name`, by which a worker process finds it."""
        return f"{self.run.__module__}:{self.run.__qualname__}"

    @cached_property
    def message(self) -> tool_pb2.Tool:
        """The tool as the contract describes it."""
        message = tool_pb2.Tool(
            name=self.name,
            category=self.category.value,
            description=self.description,
            parameters_schema=self.parameters_schema or schema_text(self.arguments, "validation"),
            result_schema=schema_text(self.result, "serialization"),
            safety_level=self.safety.value,
            max_output_bytes=self.max_output_bytes,
            idempotent=self.idempotent,
            permission=self.permission,
            examples=[example.message for example in self.examples],
            unavailable=self.unavailable,
        )
        message.timeout.FromNanoseconds(int(self.timeout_seconds * 1e9))
        return message


def tool(
    *,
    category: Category,
    safety: SafetyLevel,
    timeout_seconds: float,
    max_output_bytes: int = DEFAULT_MAX_OUTPUT_BYTES,
    idempotent: bool = True,
    examples: Sequence[Example] = (),
    waits_apart: bool = False,
) -> Callable[[Callable[..., Any]], Tool]:
    """Make a function a tool.

    Its name becomes the tool's, its docstring the description, the annotations
    of the first parameter and of the return value the schemas.
    """

    def make(run: Callable[..., Any]) -> Tool:
        hints = get_type_hints(run)
        return Tool(
            name=run.__name__,
            category=category,
            description=inspect.cleandoc(run.__doc__ or ""),
            arguments=hints[next(iter(inspect.signature(run).parameters))],
            result=hints["return"],
            run=run,
            safety=safety,
            timeout_seconds=timeout_seconds,
            max_output_bytes=max_output_bytes,
            idempotent=idempotent,
            examples=examples,
            waits_apart=waits_apart,
        )

    return make


EVERYONE = ""
"""The tenant id of what is for all tenants."""


class _Shelf:
    """Tools by name; it never changes, so that whoever reads one reads all of a moment."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self.tools: dict[str, Tool] = {}
        for entry in sorted(tools, key=lambda entry: entry.name):
            if entry.name in self.tools or not entry.description:
                raise ValueError(f"the tool {entry.name} has no description or the name of another")
            self.tools[entry.name] = entry
        self.names = list(self.tools)


class Catalogue:
    """The tools there are, by name. Some come and go, and some are one tenant's alone."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        """Hold these tools, for everybody and for ever.

        Raises:
            ValueError: Two have the same name, or one has no description.
        """
        self._own = tuple(tools)
        self._brought: dict[tuple[str, str], tuple[Tool, ...]] = {}
        self._shelves = {EVERYONE: _Shelf(self._own)}

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._shelves[EVERYONE].tools.values())

    def bring(self, tenant_id: str, source: str, tools: Iterable[Tool]) -> None:
        """Hold these tools of a source, in place of all that it brought before.

        Args:
            tenant_id: Whose they are; `EVERYONE`'s for all.
            source: Who brings them; unique within the tenant.
            tools: The tools; none takes the source away.

        Raises:
            ValueError: Two tools that a tenant sees would have the same name; nothing changes.
        """
        brought = {**self._brought, (tenant_id, source): tuple(tools)}
        brought = {place: entries for place, entries in brought.items() if entries}
        tenants = {EVERYONE, *(tenant for tenant, _ in brought)}
        self._shelves = {tenant: _Shelf(self._seen_by(tenant, brought)) for tenant in tenants}
        self._brought = brought

    def _seen_by(self, tenant: str, brought: Mapping[tuple[str, str], tuple[Tool, ...]]) -> Iterator[Tool]:
        yield from self._own
        for (owner, _), entries in brought.items():
            if owner in (EVERYONE, tenant):
                yield from entries

    @property
    def worker_modules(self) -> list[str]:
        """The modules that a worker process loads, sorted."""
        return sorted({entry.run.__module__ for entry in self if entry.in_worker})

    def find(self, name: str, principal: Principal) -> Tool:
        """The tool of this name, if the caller may use it.

        Raises:
            ToolNotFound: There is none; names the nearest that the caller may use.
            PermissionMissing: The caller may not.
        """
        found = self._shelf(principal).tools.get(name)
        if found is None:
            raise ToolNotFound(name, self._nearest(name, principal))
        principal.require(found.permission)
        return found

    def find_callable(self, name: str, principal: Principal) -> Tool:
        """The tool of this name, if the caller may use it and this machine can run it.

        Raises:
            ToolNotFound: There is none; names the nearest that the caller may use.
            PermissionMissing: The caller may not.
            ToolDisabled: This machine cannot.
        """
        found = self.find(name, principal)
        if found.unavailable:
            raise ToolDisabled(name, found.unavailable)
        return found

    def permitted(self, principal: Principal, category: int, after: str) -> Iterator[Tool]:
        """The tools that the caller may use, by name.

        Args:
            principal: The caller.
            category: Only those of this `tools.v1.Category`; 0 means all.
            after: Only those whose name comes after this one.
        """
        shelf = self._shelf(principal)
        for name in shelf.names[bisect.bisect_right(shelf.names, after) :]:
            entry = shelf.tools[name]
            if category in (0, entry.category.value) and principal.may(entry.permission):
                yield entry

    def _shelf(self, principal: Principal) -> _Shelf:
        return self._shelves.get(principal.tenant_id) or self._shelves[EVERYONE]

    def _nearest(self, name: str, principal: Principal) -> str:
        names = [entry.name for entry in self.permitted(principal, 0, "")]
        return next(iter(difflib.get_close_matches(name, names, n=1)), "")


class _PlainSchema(GenerateJsonSchema):
    """JSON Schema 2020-12 without the titles that repeat each name: models read it, and pay by the token."""

    def generate(self, schema: core_schema.CoreSchema, mode: Any = "validation") -> JsonSchemaValue:
        made = super().generate(schema, mode)
        for part in (made, *made.get("$defs", {}).values()):
            part.pop("title", None)
            part.pop("description", None)
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema_text(model: type[BaseModel], mode: Any) -> str:
    """The model's JSON Schema (2020-12) as compact JSON text."""
    return compact_json(model.model_json_schema(schema_generator=_PlainSchema, mode=mode))


def compact_json(value: Mapping[str, Any]) -> str:
    """The value as JSON text without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
