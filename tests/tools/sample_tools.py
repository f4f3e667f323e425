"""Tools that misbehave in every way; what runs in a worker must live in a module that it can import."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path

from pydantic import Field

from services.rpc.errors import Overloaded
from services.tools.catalogue import Arguments, Category, SafetyLevel, ToolResult, WorkerCall, tool
from services.tools.errors import ToolFailed
from services.tools.events import Output, Progress

LIMIT_BYTES = 1000


class Nothing(Arguments):
    """No arguments."""


class Text(Arguments):
    text: str = Field("", max_length=100_000)


class Steps(Arguments):
    steps: int = Field(3, ge=0, le=1000)


class Said(ToolResult):
    text: str


class Seen(ToolResult):
    environment: dict[str, str]
    descriptors: list[str]
    pid: int


quick = tool(
    category=Category.UTILITY, safety=SafetyLevel.SAFE, timeout_seconds=30, max_output_bytes=LIMIT_BYTES
)
hasty = tool(
    category=Category.SYSTEM,
    safety=SafetyLevel.DANGEROUS,
    timeout_seconds=0.2,
    max_output_bytes=LIMIT_BYTES,
    idempotent=False,
)


@quick
def echo(arguments: Text, _call: WorkerCall) -> Said:
    """Says what it is told."""
    return Said(text=arguments.text)


@quick
def failing(_arguments: Nothing, _call: WorkerCall) -> Said:
    """Fails as tools do."""
    raise ToolFailed("failing", "The disk is on fire.")


@quick
def crowded(_arguments: Nothing, _call: WorkerCall) -> Said:
    """Fails as tools do that had to wait for too long."""
    raise Overloaded("Another call is at it.", retry_after=timedelta(seconds=1))


@quick
def broken(_arguments: Nothing, _call: WorkerCall) -> Said:
    """Fails as programs do."""
    raise RuntimeError("the password is hunter2")


@quick
def dying(_arguments: Nothing, _call: WorkerCall) -> Said:
    """Takes its process down."""
    os._exit(3)


@hasty
def hanging(_arguments: Nothing, _call: WorkerCall) -> Said:
    """Never returns, whatever it is told."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()


@quick
def waiting(_arguments: Nothing, call: WorkerCall) -> Said:
    """Says its process id and never returns."""
    call.report(Output(str(os.getpid())))
    while True:
        signal.pause()


@quick
def stepping(arguments: Steps, call: WorkerCall) -> Said:
    """Says how far it is, step by step."""
    for step in range(arguments.steps):
        call.report(Progress(f"step {step}", step / arguments.steps))
        call.report(Output(f"{step}\n"))
    return Said(text="done")


@quick
def flooding(_arguments: Nothing, call: WorkerCall) -> Said:
    """Puts out text without end."""
    while True:
        call.report(Output("x" * 100))


@quick
def bulky(arguments: Text, _call: WorkerCall) -> Said:
    """Gives a result far beyond any frame."""
    return Said(text=arguments.text + "x" * 200_000)


@quick
def printing(_arguments: Nothing, _call: WorkerCall) -> Said:
    """Writes where the frames used to go, and reads where they came from."""
    os.write(1, b"+\0\0\0\0 noise")
    return Said(text=repr(os.read(0, 10)))


@quick
def looking(_arguments: Nothing, _call: WorkerCall) -> Seen:
    """Tells what a tool can see of the service."""
    paths = [str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return Seen(environment=dict(os.environ), descriptors=paths, pid=os.getpid())


@quick
def owning(_arguments: Nothing, call: WorkerCall) -> Said:
    """Tells what is in its owner's workspace."""
    with call.workspaces.open(call.owner) as workspace:
        return Said(text=" ".join(sorted(entry.name for entry in workspace.entries())))


TOOLS = (
    echo,
    failing,
    broken,
    dying,
    hanging,
    waiting,
    stepping,
    flooding,
    bulky,
    printing,
    looking,
    owning,
)
