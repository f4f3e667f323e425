"""The playground: one tool of the catalogue, the form for its arguments, and a call of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from markupsafe import Markup

from parley.tools.v1 import tool_pb2
from parley_client.errors import ParleyError
from web.administration.fields import Fields
from web.administration.room import Action, Room
from web.administration.visitor import Visitor
from web.catalogue_view import facts, level_badge, unavailable
from web.playground.form import Control, arguments, arguments_of_json, controls, filled

ARGUMENTS = "arguments"
"""The field of all arguments as JSON."""


class PlaygroundRoom(Room):
    """Chooses a tool, fills in its arguments, and says what to call."""

    name = "playground"
    label = "Playground"
    permission = "tools.execute"

    def __init__(self, visitor: Visitor) -> None:
        """The first tool that can be called, its form as it is at first."""
        super().__init__(visitor)
        self.asked: str | None = None
        """The arguments, as JSON text, that the last action asked to call the tool with; None: it did not."""
        self.calling = False
        """Whether a call runs; the form is closed meanwhile."""
        self._ended = False
        self._tools: Sequence[tool_pb2.Tool] = ()
        self._tool: tool_pb2.Tool | None = None
        self._form: tuple[Control, ...] | None = None
        self._values = Fields()
        self._raw = False

    @property
    def tool(self) -> str:
        """The name of the tool that was chosen; empty where there is none."""
        return self._tool.name if self._tool is not None else ""

    def actions(self) -> Mapping[str, Action]:
        """Choosing, filling in, calling."""
        return {
            "choose": self._choose,
            "example": self._example,
            "empty": self._empty,
            "to_json": self._to_json,
            "to_form": self._to_form,
            "run": self._run,
            "ended": self._rest,
        }

    async def enter(self) -> str:
        """What is on show now; what was filled in stands."""
        return await self.act("cancel", Fields())

    async def load(self) -> None:
        """Ask which tools the person may use."""
        self._tools = await self._visitor.client.list_tools()
        if self._tool is None:
            usable = [tool for tool in self._tools if not tool.unavailable]
            self._take(next(iter([*usable, *self._tools]), None))

    def shown(self) -> Mapping[str, Any]:
        """The tools, the form, and what stands in it."""
        ended, self._ended = self._ended, False
        return {
            "tools": self._tools,
            "tool": self._tool,
            "controls": self._form or (),
            "form_would_do": self._form is not None,
            "raw": self._raw,
            "written": lambda field: next(iter(self._values.all(field)), ""),
            "calling": self.calling,
            "ended": ended,
            "marks": Markup(level_badge(self._tool.safety_level)) if self._tool else "",  # noqa: S704 # nosec B704  # escaped
            "facts": Markup(facts(self._tool)) if self._tool else "",  # noqa: S704 # nosec B704
            "off": Markup(unavailable(self._tool)) if self._tool else "",  # noqa: S704 # nosec B704
        }

    async def _do(self, name: str, fields: Fields) -> None:
        self.asked = None
        if self.calling and name not in ("cancel", "ended"):
            raise ParleyError(
                grpc.StatusCode.FAILED_PRECONDITION, "A call runs. Cancel it, or wait for its end."
            )
        await super()._do(name, fields)

    def _take(self, tool: tool_pb2.Tool | None) -> None:
        """Turn to a tool, its form as it is at first."""
        self._tool = tool
        self._form = controls(tool.parameters_schema) if tool is not None else None
        self._raw = self._form is None
        self._begin()

    def _begin(self) -> None:
        self._values = (
            Fields({ARGUMENTS: ["{}"]}) if self._form is None or self._raw else filled(self._form, {})
        )

    def _fill(self, given: Mapping[str, Any]) -> None:
        """Put arguments into the form, or write them as JSON."""
        if self._raw or self._form is None:
            self._values = Fields({ARGUMENTS: [json.dumps(given, ensure_ascii=False, indent=2)]})
        else:
            self._values = filled(self._form, given)

    def _given(self, fields: Fields) -> dict[str, Any]:
        """The arguments that stand there now; they stay there, right or wrong."""
        self._values = fields
        if self._raw or self._form is None:
            return arguments_of_json(next(iter(fields.all(ARGUMENTS)), ""))
        return arguments(self._form, fields)

    async def _choose(self, fields: Fields) -> None:
        name = fields.text("tool")
        found = next((tool for tool in self._tools if tool.name == name), None)
        if found is None:
            raise ParleyError(grpc.StatusCode.NOT_FOUND, f"There is no tool {name}.", reason="TOOL_NOT_FOUND")
        self._take(found)

    async def _example(self, fields: Fields) -> None:
        number = fields.whole("number")
        examples = self._tool.examples if self._tool is not None else ()
        if number is None or number >= len(examples):
            raise ParleyError(grpc.StatusCode.NOT_FOUND, "The tool has no such example.")
        self._fill(arguments_of_json(examples[number].arguments))

    async def _empty(self, _fields: Fields) -> None:
        self._begin()

    async def _to_json(self, fields: Fields) -> None:
        given = self._given(fields)
        self._raw = True
        self._fill(given)

    async def _to_form(self, fields: Fields) -> None:
        given = self._given(fields)
        if self._form is not None:
            self._values = filled(self._form, given)
            self._raw = False

    async def _run(self, fields: Fields) -> None:
        self.asked = json.dumps(self._given(fields), ensure_ascii=False)
        self.calling = True

    async def _rest(self, _fields: Fields) -> None:
        self.calling, self._ended = False, True
