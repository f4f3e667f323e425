"""What happens to a call, in the order it happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.rpc.errors import ServiceError


@dataclass(frozen=True)
class Started:
    """The call left the queue and runs.

    Attributes:
        tool: The tool's name.
        queued_seconds: Time that it waited for its turn.
    """

    tool: str
    queued_seconds: float


@dataclass(frozen=True)
class Progress:
    """How far the call is.

    Attributes:
        message: What it is doing, for people.
        fraction: Share done, 0 to 1; None where the tool cannot tell.
    """

    message: str
    fraction: float | None = None


@dataclass(frozen=True)
class Output:
    """A piece of output, as it appears; not part of the result.

    Attributes:
        text: Text to append.
    """

    text: str


@dataclass(frozen=True)
class Result:
    """The call ended well.

    Attributes:
        content: The result as JSON text.
        duration_seconds: Time that it ran.
        replayed: It is the result of an earlier call with the same key.
    """

    content: str
    duration_seconds: float
    replayed: bool = False


Report = Progress | Output
"""What a tool may say while it runs."""

Reporter = Callable[[Report], Awaitable[None]]
"""Takes what a tool says; waits while whoever reads it is behind."""

Happening = Started | Progress | Output | Result | ServiceError
"""One event of a call; a `Result` or an error is its last."""

Emit = Callable[[Happening], Awaitable[None]]
"""Takes an event; waits while whoever reads the events is behind."""


@dataclass(frozen=True)
class CallEvent:
    """An event, with its place among the events of its call.

    Attributes:
        call_id: The call.
        sequence: Its position, counted from 1 without gaps.
        what: What happened.
    """

    call_id: str
    sequence: int
    what: Happening
