"""The socket at which a running stack is told to change its replicas."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import socket
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cli.failures import CommandError, ExitCode
from cli.home import Home
from cli.local.control import (
    MOST_BYTES,
    AddReplicas,
    ListReplicas,
    ReloadModel,
    RemoveReplica,
    ReplicaState,
    Request,
)
from cli.local.control_client import ask
from cli.local.control_server import ControlServer
from cli.local.membership import Tell
from deploy.unix_path import short
from tests.cli.conftest import Run

REPLICA = ReplicaState(name="inference-1", model="demo", source="/demo", address="127.0.0.1:1", phase="ready")
DEADLINE_SECONDS = 20.0


class Changes:
    """Makes changes when the test lets it."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.made = 0

    async def make(self, request: Request, tell: Tell) -> None:
        self.asked.append(request)
        tell("inference-2 starts")
        self.begun.set()
        if isinstance(request, ReloadModel):
            raise CommandError("Too little memory.", "Remove a replica.", ExitCode.MACHINE)
        if isinstance(request, RemoveReplica):
            raise OSError(errno.ENOSPC, "No space left on device")
        await self.go_on.wait()
        self.made += 1


@pytest.fixture
async def changes(deep_home: Home) -> AsyncIterator[Changes]:
    changes = Changes()
    deep_home.control_path.touch()  # left by one that was killed
    async with ControlServer(deep_home.control_path, changes.make, lambda: (REPLICA,)).listening():
        yield changes


@pytest.fixture
def deep_home(tmp_path: Path) -> Home:
    """A home whose path is too long for a socket's."""
    home = Home(tmp_path / ("deep" * 30))
    home.folder("run")
    return home


async def asking(
    home: Home, request: Request, show: Callable[[str], None] = lambda _: None
) -> tuple[ReplicaState, ...]:
    async with asyncio.timeout(DEADLINE_SECONDS):
        return await asyncio.to_thread(ask, home, request, show)


async def said(home: Home, line: bytes) -> dict[str, object]:
    """The one answer to a line."""
    with short(home.control_path) as path:
        reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line)
    async with asyncio.timeout(DEADLINE_SECONDS):
        answer: dict[str, object] = json.loads(await reader.readline())
    writer.close()
    return answer


async def test_whoever_asks_sees_each_step_and_what_there_is_then(changes: Changes, deep_home: Home) -> None:
    assert stat.S_IMODE(deep_home.control_path.stat().st_mode) == 0o600
    steps: list[str] = []
    request = AddReplicas(model="demo", count=2)
    changes.go_on.set()
    assert await asking(deep_home, request, steps.append) == (REPLICA,)
    assert (changes.asked, steps) == ([request], ["inference-2 starts"])
    assert await asking(deep_home, ListReplicas()) == (REPLICA,)


async def test_what_cannot_be_done_is_told_with_what_to_do(changes: Changes, deep_home: Home) -> None:
    with pytest.raises(CommandError) as caught:
        await asking(deep_home, ReloadModel(model="demo"))
    error = caught.value
    told = (error.message, error.remedy, error.exit_code)
    assert told == ("Too little memory.", "Remove a replica.", ExitCode.MACHINE)


async def test_what_fails_midway_is_told_too(changes: Changes, deep_home: Home) -> None:
    with pytest.raises(CommandError, match=r"failed midway: .*No space left") as caught:
        await asking(deep_home, RemoveReplica(replica="inference-1"))
    assert "parley replicas list" in caught.value.remedy
    assert await asking(deep_home, ListReplicas()) == (REPLICA,)


async def test_there_is_one_change_at_a_time_and_it_outlives_who_asked(
    changes: Changes, deep_home: Home
) -> None:
    with socket.socket(socket.AF_UNIX) as leaves, short(deep_home.control_path) as path:
        leaves.connect(path)
        leaves.sendall(AddReplicas().model_dump_json().encode() + b"\n")
        await changes.begun.wait()
    with pytest.raises(CommandError, match="Another change is under way"):
        await asking(deep_home, AddReplicas())
    changes.go_on.set()
    with contextlib.suppress(CommandError):  # until the first is over
        await asking(deep_home, AddReplicas())
    await asking(deep_home, AddReplicas())
    assert changes.made >= 2


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"no json\n",
        b'{"ask": "format the disk"}\n',
        b'{"ask": "add", "count": 0}\n',
        b'{"ask": "add", "more": 1}\n',
        b'{"ask": "list"' + b" " * MOST_BYTES + b"}\n",
    ],
    ids=["empty", "text", "unknown", "bounds", "extra", "long"],
)
async def test_what_is_not_understood_is_refused(changes: Changes, deep_home: Home, line: bytes) -> None:
    answer = await said(deep_home, line)
    assert "not understood" in json.dumps(answer["failure"])
    assert changes.asked == []


async def test_a_change_under_way_ends_with_the_stack_and_nobody_listens_then(deep_home: Home) -> None:
    changes = Changes()
    async with ControlServer(deep_home.control_path, changes.make, lambda: (REPLICA,)).listening():
        waiting = asyncio.ensure_future(asking(deep_home, AddReplicas()))
        await changes.begun.wait()
    with pytest.raises(CommandError, match=r"The stack end(s|ed before it was done)\."):
        await waiting
    assert changes.made == 0
    with pytest.raises(CommandError) as caught:
        await asking(deep_home, ListReplicas())
    assert caught.value.exit_code is ExitCode.UNREACHABLE


@pytest.mark.parametrize(
    "command",
    [
        ("replicas", "list"),
        ("replicas", "add"),
        ("replicas", "remove", "inference-2"),
        ("models", "reload", "m"),
    ],
)
def test_without_a_stack_the_commands_say_so(alone: Run, home: Path, command: tuple[str, ...]) -> None:
    result = alone(*command)
    assert result.exit_code == ExitCode.UNREACHABLE
    assert f"No stack that is ready runs from {home}." in result.stderr
