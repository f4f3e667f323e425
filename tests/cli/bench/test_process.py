"""What a bench started ends with it, however it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from cli.bench.process import measured_process
from tests.cli.local.processes import eventually, gone

FORKS = (
    "import signal, subprocess, sys; "
    "waits = [sys.executable, '-c', 'import signal; signal.pause()']; "
    "below = subprocess.Popen(waits, stdout=subprocess.DEVNULL); "
    "print(below.pid, flush=True); signal.pause()"
)
BENCH = """
import asyncio, pathlib, sys
from cli.bench.process import measured_process

async def main():
    log = pathlib.Path(sys.argv[1]) / "log"
    async with measured_process((sys.executable, "-c", sys.argv[2]), {}, log) as process:
        print(process.pid, (await process.stdout.readline()).decode(), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
DEADLINE_SECONDS = 120.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_nothing_is_left_when_the_bench_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    bench = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", BENCH, str(tmp_path), FORKS), stdout=asyncio.subprocess.PIPE
    )
    assert bench.stdout is not None
    async with asyncio.timeout(DEADLINE_SECONDS):
        started = [int(pid) for pid in (await bench.stdout.readline()).split()]
    assert len(started) == 2

    bench.send_signal(number)
    assert await bench.wait() == -number

    await eventually(lambda: all(map(gone, started)))


async def test_all_that_it_started_ends_with_the_block(tmp_path: Path) -> None:
    async with measured_process((sys.executable, "-c", FORKS), {}, tmp_path / "log") as process:
        assert process.stdout is not None
        below = int(await process.stdout.readline())
    assert process.returncode == -signal.SIGTERM
    await eventually(lambda: gone(below))


async def test_one_that_takes_orders_ends_in_order_when_there_are_no_more(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import sys; sys.stdin.read()")
    async with measured_process(command, {}, tmp_path / "log", takes_orders=True) as process:
        pass
    assert process.returncode == 0


async def test_one_that_does_not_read_its_orders_yet_is_not_waited_for(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import signal; signal.pause()")
    with pytest.raises(ZeroDivisionError):
        async with measured_process(command, {}, tmp_path / "log", takes_orders=True) as process:
            raise ZeroDivisionError
    assert process.returncode == -signal.SIGTERM


@pytest.mark.slow
async def test_a_stack_that_starts_ends_with_its_bench(tmp_path: Path) -> None:
    bench = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "bench", "memory"),
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=asyncio.subprocess.DEVNULL,
    )

    def starts() -> bool:
        """Whether `parley up` said something: it has processes of its own by now, or soon."""
        assert bench.returncode is None
        return any(log.stat().st_size for log in tmp_path.glob("parley-bench-*/up.log"))

    await eventually(starts, DEADLINE_SECONDS)
    below = psutil.Process(bench.pid).children(recursive=True)
    assert any(process.cmdline()[-3:-1] == ["up", "--model"] for process in below)

    bench.kill()
    await bench.wait()

    await eventually(lambda: all(gone(process.pid) for process in below), DEADLINE_SECONDS)
