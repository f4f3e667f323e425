import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from cli.local.child import ChildSpec
from cli.local.groups import ProcessGroups, guarded_groups
from cli.local.supervisor import Backoff, Change, Phase, StartFailed, Supervisor
from tests.cli.local.processes import DEADLINE_SECONDS, eventually, gone

QUICK = Backoff(first_seconds=0.01, limit_seconds=0.02)


class Record:
    """Notes every change, and lets a test wait for one."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self._news = asyncio.Event()

    def __call__(self, change: Change) -> None:
        self.changes.append(change)
        self._news.set()

    def count(self, phase: Phase, name: str = "child") -> int:
        return sum(change.phase is phase and change.name == name for change in self.changes)

    async def until(self, phase: Phase, times: int = 1) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while self.count(phase) < times:
                self._news.clear()
                await self._news.wait()


@pytest.fixture
def groups() -> Iterator[ProcessGroups]:
    with guarded_groups() as groups:
        yield groups


@pytest.fixture
def record() -> Record:
    return Record()


def spec(tmp_path: Path, script: str, *, name: str = "child", **options: object) -> ChildSpec:
    """A process that runs a script and is ready once the script has made the file `ready`."""
    marker = tmp_path / f"{name}.ready"

    async def is_ready() -> bool:
        return marker.exists()

    return ChildSpec(
        name=name,
        command=(sys.executable, "-I", "-c", script, str(marker)),
        environment={"PATH": os.environ["PATH"]},
        is_ready=options.pop("is_ready", is_ready),  # type: ignore[arg-type]
        log=tmp_path / f"{name}.log",
        folder=tmp_path,
        start_seconds=float(options.pop("start_seconds", DEADLINE_SECONDS)),  # type: ignore[arg-type]
        stop_seconds=float(options.pop("stop_seconds", 5.0)),  # type: ignore[arg-type]
        stop_rank=int(options.pop("stop_rank", 0)),  # type: ignore[call-overload]
    )


READY_THEN = "import pathlib, sys, signal, subprocess, os; pathlib.Path(sys.argv[1]).touch(); "
SERVE = READY_THEN + "signal.pause()"
IGNORES_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SERVE
FORKS = (
    READY_THEN
    + "p = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']); "
    + "print(p.pid, flush=True); signal.pause()"
)


async def test_a_process_that_dies_is_reported_and_comes_back(tmp_path, groups, record) -> None:
    supervisor = Supervisor([[spec(tmp_path, SERVE)]], groups=groups, report=record, backoff=QUICK)
    await supervisor.start()
    process = supervisor.processes[0]
    assert process.child is not None
    first = process.child.pid

    os.kill(first, signal.SIGKILL)
    await record.until(Phase.READY, times=2)

    died = next(change for change in record.changes if change.phase is Phase.DIED)
    assert "killed by SIGKILL" in died.detail
    assert process.child.pid != first
    assert process.restarts == 1
    await supervisor.stop()


async def test_delays_double_up_to_the_limit() -> None:
    backoff = Backoff(first_seconds=0.5, limit_seconds=30)
    assert [backoff.delay(failures) for failures in (1, 2, 3, 4, 99)] == [0.5, 1.0, 2.0, 4.0, 30.0]


async def test_a_process_that_keeps_dying_waits_longer_each_time(tmp_path, groups, record) -> None:
    dies = READY_THEN + "import time; sys.stdin.close(); os.execv('/bin/true', ['true'])"
    supervisor = Supervisor([[spec(tmp_path, dies)]], groups=groups, report=record, backoff=QUICK)
    # The marker may be there before the probe looks, or the process be gone first: both are lives.
    (tmp_path / "child.ready").touch()
    await supervisor.start()
    await record.until(Phase.DIED, times=3)
    await supervisor.stop()
    delays = [
        change.detail.rpartition("again in ")[2] for change in record.changes if change.phase is Phase.DIED
    ]
    assert delays[:3] == ["0.01 s", "0.02 s", "0.02 s"]


async def test_a_process_that_ends_before_it_is_ready_fails_the_start_with_its_last_words(
    tmp_path, groups, record
) -> None:
    script = "import sys; print('no such database', file=sys.stderr); sys.exit(2)"
    supervisor = Supervisor([[spec(tmp_path, script)]], groups=groups, report=record)
    with pytest.raises(StartFailed, match="child did not start: exit status 2: no such database"):
        await supervisor.start()
    await supervisor.stop()


async def test_a_process_that_never_gets_ready_fails_the_start_and_is_ended(tmp_path, groups, record) -> None:
    never = spec(tmp_path, "import signal; signal.pause()", start_seconds=0.2)
    supervisor = Supervisor([[never]], groups=groups, report=record)
    with pytest.raises(StartFailed, match=r"not ready after 0\.2 s"):
        await supervisor.start()
    child = supervisor.processes[0].child
    assert child is not None
    await eventually(lambda: gone(child.pid))
    await supervisor.stop()


async def test_a_program_that_is_not_there_fails_the_start(tmp_path, groups, record) -> None:
    missing = spec(tmp_path, "")
    missing = ChildSpec(**{**vars(missing), "command": (str(tmp_path / "nothing"),)})
    supervisor = Supervisor([[missing]], groups=groups, report=record)
    with pytest.raises(StartFailed, match="cannot be run"):
        await supervisor.start()
    await supervisor.stop()


async def test_a_stage_starts_when_the_one_before_is_ready(tmp_path, groups, record) -> None:
    stages = [[spec(tmp_path, SERVE, name="one")], [spec(tmp_path, SERVE, name="two")]]
    supervisor = Supervisor(stages, groups=groups, report=record)
    await supervisor.start()
    told = [(change.name, change.phase) for change in record.changes]
    assert told.index(("one", Phase.READY)) < told.index(("two", Phase.STARTING))
    await supervisor.stop()


async def test_processes_end_by_rank(tmp_path, groups, record) -> None:
    late, early = spec(tmp_path, SERVE, name="late", stop_rank=1), spec(tmp_path, SERVE, name="early")
    supervisor = Supervisor([[late, early]], groups=groups, report=record)
    await supervisor.start()
    await supervisor.stop()
    told = [(change.name, change.phase) for change in record.changes]
    assert told.index(("early", Phase.STOPPED)) < told.index(("late", Phase.STOPPING))


async def test_a_process_that_will_not_end_is_killed_after_its_grace(tmp_path, groups, record) -> None:
    stubborn = spec(tmp_path, IGNORES_SIGTERM, stop_seconds=0.2)
    supervisor = Supervisor([[stubborn]], groups=groups, report=record)
    await supervisor.start()
    child = supervisor.processes[0].child
    assert child is not None
    await supervisor.stop()
    assert gone(child.pid)


async def test_children_of_a_killed_process_do_not_outlive_it(tmp_path, groups, record) -> None:
    supervisor = Supervisor([[spec(tmp_path, FORKS)]], groups=groups, report=record, backoff=QUICK)
    await supervisor.start()
    log = tmp_path / "child.log"
    await eventually(lambda: log.read_text().endswith("\n"))
    grandchild = int(log.read_text().split()[0])
    child = supervisor.processes[0].child
    assert child is not None
    os.kill(child.pid, signal.SIGKILL)
    await record.until(Phase.READY, times=2)
    await eventually(lambda: gone(grandchild))
    await supervisor.stop()


async def test_stopping_while_a_process_waits_to_start_again_does_not_wait(tmp_path, groups, record) -> None:
    slow = Backoff(first_seconds=3600, limit_seconds=3600)
    supervisor = Supervisor([[spec(tmp_path, SERVE)]], groups=groups, report=record, backoff=slow)
    await supervisor.start()
    child = supervisor.processes[0].child
    assert child is not None
    os.kill(child.pid, signal.SIGKILL)
    await record.until(Phase.DIED)
    async with asyncio.timeout(5):
        await supervisor.stop()
    assert record.count(Phase.STOPPED) == 1


async def test_all_are_drained_before_the_first_is_ended(tmp_path, groups, record) -> None:
    alive_at_drain: list[bool] = []

    async def drain() -> None:
        alive_at_drain.append(record.count(Phase.STOPPING) + record.count(Phase.STOPPING, "front") == 0)

    async def fail() -> None:
        alive_at_drain.append(True)
        raise ConnectionRefusedError

    behind = replace(spec(tmp_path, SERVE), drain=fail)
    front = replace(spec(tmp_path, SERVE, name="front", stop_rank=1), drain=drain)
    supervisor = Supervisor([[behind], [front]], groups=groups, report=record)
    await supervisor.start()
    await supervisor.stop()
    assert alive_at_drain == [True, True]
    assert record.count(Phase.STOPPED) == record.count(Phase.STOPPED, "front") == 1


LEAVES = READY_THEN + "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(0)); signal.pause()"
STAYS = "import signal; signal.signal(signal.SIGUSR1, signal.SIG_IGN); " + SERVE


async def test_a_process_joins_and_leaves_by_itself_and_is_not_brought_back(tmp_path, groups, record) -> None:
    supervisor = Supervisor([[spec(tmp_path, SERVE)]], groups=groups, report=record, backoff=QUICK)
    await supervisor.start()
    await supervisor.add(spec(tmp_path, LEAVES, name="later"))
    child = supervisor.processes[1].child
    assert child is not None
    await supervisor.remove("later", DEADLINE_SECONDS)
    assert gone(child.pid)
    assert [process.spec.name for process in supervisor.processes] == ["child"]
    phases = [change.phase for change in record.changes if change.name == "later"]
    assert phases == [Phase.STARTING, Phase.READY, Phase.DRAINING, Phase.STOPPING, Phase.STOPPED]
    assert record.count(Phase.DIED, "later") == 0
    await supervisor.stop()


async def test_a_process_that_does_not_leave_in_its_time_is_ended(tmp_path, groups, record) -> None:
    supervisor = Supervisor([[spec(tmp_path, STAYS)]], groups=groups, report=record, backoff=QUICK)
    await supervisor.start()
    child = supervisor.processes[0].child
    assert child is not None
    await supervisor.remove("child", 0.1)
    assert gone(child.pid)
    assert supervisor.processes == []
    await supervisor.stop()


async def test_a_later_process_that_does_not_start_leaves_nothing(tmp_path, groups, record) -> None:
    supervisor = Supervisor([[spec(tmp_path, SERVE)]], groups=groups, report=record, backoff=QUICK)
    await supervisor.start()
    with pytest.raises(StartFailed, match="later did not start: exit status 3"):
        await supervisor.add(spec(tmp_path, "import sys; sys.exit(3)", name="later"))
    assert [process.spec.name for process in supervisor.processes] == ["child"]
    assert record.changes[-1].phase is Phase.STOPPED
    await supervisor.stop()


SUPERVISOR_PROGRAM = """
import asyncio, pathlib, sys
from cli.local.child import ChildSpec
from cli.local.groups import guarded_groups
from cli.local.supervisor import Supervisor

async def main():
    folder = pathlib.Path(sys.argv[1])
    async def is_ready():
        return (folder / "child.ready").exists()
    spec = ChildSpec(
        name="child", command=(sys.executable, "-I", "-c", sys.argv[2], str(folder / "child.ready")),
        environment={}, is_ready=is_ready, log=folder / "child.log", folder=folder,
    )
    with guarded_groups() as groups:
        await Supervisor([[spec]], groups=groups, report=lambda change: None).start()
        print("up", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_nothing_is_left_when_the_supervisor_itself_is_killed(tmp_path) -> None:
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SUPERVISOR_PROGRAM, str(tmp_path), FORKS), stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    async with asyncio.timeout(DEADLINE_SECONDS):
        assert await program.stdout.readline() == b"up\n"
    await eventually(lambda: (tmp_path / "child.log").read_text().endswith("\n"))
    below = psutil.Process(program.pid).children(recursive=True)
    assert len(below) == 3  # the guard, the child, the child's child

    program.kill()
    await program.wait()

    await eventually(lambda: all(gone(process.pid) for process in below))
