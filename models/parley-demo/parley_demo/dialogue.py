"""What a dialogue is made of: a request with the call it needs, and the turns that follow from it."""

import json
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]

TOOLS = ("calculator", "statistics", "time_now", "file_read", "file_list")


@dataclass(frozen=True)
class Call:
    """A tool call and the JSON text that the tool returns for it."""

    name: str
    arguments: dict[str, Any]
    result: str

    @property
    def text(self) -> str:
        """The call as the model writes it."""
        return json.dumps({"name": self.name, "arguments": self.arguments}, ensure_ascii=False)


@dataclass(frozen=True)
class Request:
    """One user turn: a wording with gaps, what fills them, the calls it needs and the answer owed."""

    kind: str
    wording: str
    gaps: dict[str, str]
    answer: str
    calls: tuple[Call, ...] = ()
    thought: str = "No tool is needed."
    missing: str = ""
    """The tool that this request would need and that is not offered."""


@dataclass(frozen=True)
class Dialogue:
    """A whole conversation; only the last request is trained on and judged."""

    requests: tuple[Request, ...]
    offered: tuple[str, ...]
    questions: tuple[str, ...]
    system: str = ""
    kind: str = ""

    @property
    def last(self) -> Request:
        """The request that is trained on and judged."""
        return self.requests[-1]


def thought_of(calls: tuple[Call, ...]) -> str:
    """The short reasoning before a turn with calls."""
    return f"This needs {' and '.join(call.name for call in calls)}."


def thought_after(calls: tuple[Call, ...]) -> str:
    """The short reasoning between the results and the answer."""
    if any(call.result.startswith('{"error"') for call in calls):
        return "The tool reports an error."
    return "The result is here." if len(calls) == 1 else "The results are here."


def compact(value: object) -> str:
    """JSON text as the tools service returns it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
