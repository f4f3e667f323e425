from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from services.tools.sandbox.collection import MAX_DEPTH
from services.tools.sandbox.confinement import Bubblewrap, Interpreter, Landlock
from services.tools.sandbox.policy import Limits
from services.tools.sandbox.probe import SandboxUnavailable, Wanted, check, find_sandbox
from services.tools.sandbox.sandbox import Finished, LimitReached, Program, Sandbox, SandboxBroken

Run = Callable[..., Awaitable[Finished]]
SECONDS = 60.0


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counts, opens nothing more


def children() -> set[psutil.Process]:
    """The processes there are below this one; those that have ended do not count."""
    return {process for process in psutil.Process().children(recursive=True) if lives(process)}


def lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def others() -> set[psutil.Process]:
    """What other tests of this session keep running."""
    return children()


async def test_a_program_runs_and_tells(run: Run) -> None:
    finished = await run("import sys\nprint('é€😀')\nprint('oops', file=sys.stderr)\nsys.exit(7)")
    assert (finished.exit_status, finished.stdout, finished.stderr) == (7, "é€😀\n", "oops\n")


async def test_it_runs_as_a_script_does(run: Run) -> None:
    code = "import sys\nassert __name__ == '__main__'\nprint(sys.argv)\nimport helper\nexit()"
    finished = await run(code, arguments=("a", "b"), files={"helper.py": b"print('helped')"})
    assert finished.stdout == "['program.py', 'a', 'b']\nhelped\n"
    assert finished.exit_status == 0


async def test_an_error_is_told_as_python_tells_it(run: Run) -> None:
    finished = await run("def f():\n    raise ValueError('no')\nf()")
    assert finished.exit_status == 1
    lines = finished.stderr.splitlines()
    assert lines[-1] == "ValueError: no"
    assert sum("File" in line for line in lines) == 2
    assert "stage" not in finished.stderr
    assert "raise ValueError('no')" in finished.stderr


@pytest.mark.parametrize("code", ["def", "x = '\ud800'", "\0"])
async def test_what_is_no_python_is_an_error_of_the_program(run: Run, code: str) -> None:
    finished = await run(code)
    assert finished.exit_status == 1
    assert "Error" in finished.stderr


async def test_a_crash_is_told_by_its_signal(run: Run) -> None:
    finished = await run("import ctypes\nctypes.string_at(0)")
    assert finished.exit_status == 128 + 11


async def test_files_go_in_and_what_changed_comes_out(run: Run) -> None:
    files = {"data/in.txt": b"in", "same.txt": b"same", "bytes": bytes(range(256))}
    code = (
        "import os\nassert open('bytes', 'rb').read() == bytes(range(256))\n"
        "open('data/in.txt', 'a').write('+')\nopen('data/new.txt', 'w').write('new')\nos.unlink('same.txt')"
    )
    finished = await run(code, files=files)
    assert finished.stderr == ""
    assert finished.collected.files == {"data/in.txt": b"in+", "data/new.txt": b"new"}


async def test_only_plain_files_come_out(run: Run) -> None:
    code = (
        "import os\nos.symlink('/etc/passwd', 'link')\nos.symlink('/etc', 'folder')\n"
        "open('one', 'w').write('x')\nos.link('one', 'two')\nopen('line\\nbreak', 'w').close()\n"
        "open(b'\\xff', 'w').close()\n"
        "open('fine', 'w').write('fine')"
    )
    finished = await run(code)
    assert finished.stderr == ""
    assert finished.collected.files == {"fine": b"fine"}
    assert {"link", "folder", "one", "two", "line\nbreak"} <= set(finished.collected.left_out)


async def test_a_tree_that_is_too_deep_does_not_come_out(run: Run, sandbox: Sandbox) -> None:
    code = (
        f"import os\nos.makedirs('d/' * {MAX_DEPTH + 3} + 'e')\n"
        "import time\ntime.sleep(0 if os.getcwd() == '/workspace' else 1000)"
    )
    if sandbox.confinement.namespaces:
        collected = (await run(code)).collected
        assert collected.files == {}
        assert collected.left_out == ("/".join("d" * MAX_DEPTH),)
        return
    with pytest.raises(LimitReached, match="entries"):
        await run(code)


async def test_output_is_heard_as_it_appears(sandbox: Sandbox, others: set[psutil.Process]) -> None:
    heard = asyncio.Event()

    async def hear(text: str) -> None:
        assert text == "early\n"
        heard.set()

    code = "print('early', flush=True)\nimport time\ntime.sleep(1000)"
    task = asyncio.create_task(sandbox.run(Program(code), hear))
    async with asyncio.timeout(SECONDS):
        await heard.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() <= others


async def test_nothing_is_left_behind(sandbox: Sandbox, tmp_path: Path, others: set[psutil.Process]) -> None:
    await sandbox.run(Program("pass"))  # Threads and whatever else the loop keeps are there now.
    before = handles()
    programs = {
        "print(1)": Limits(),
        "1/0": Limits(),
        "while True: print('x' * 1000)": Limits(),
        "import time\ntime.sleep(1000)": Limits(seconds=1),
        "import os\nos.makedirs('d/' * 900)\nopen('x', 'w').write('x')": Limits(entries=2000),
        "import threading\nthreading.Thread(target=threading.Event().wait).start()": Limits(seconds=1),
    }
    runs = (sandbox.run(Program(code, limits=limits)) for code, limits in programs.items())
    results = await asyncio.gather(*runs, return_exceptions=True)
    assert {type(result) for result in results} <= {Finished, LimitReached}
    assert children() <= others
    assert handles() == before
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_cancelling_at_any_moment_leaves_nothing(
    sandbox: Sandbox, tmp_path: Path, others: set[psutil.Process]
) -> None:
    await sandbox.run(Program("pass"))
    before = handles()
    for turns in range(0, 60, 3):
        task = asyncio.create_task(sandbox.run(Program("import time\ntime.sleep(1000)")))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert children() <= others
    assert handles() == before
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_so_many_run_at_once(sandbox: Sandbox) -> None:
    results = await asyncio.gather(*(sandbox.run(Program(f"print({n})")) for n in range(12)))
    assert [result.stdout for result in results] == [f"{n}\n" for n in range(12)]


async def test_both_trials_pass_here(sandbox: Sandbox) -> None:
    assert await check(sandbox) is None


def wanted(tmp_path: Path, *kinds: str) -> Wanted:
    return Wanted(kinds, 2, Interpreter.own(), tmp_path)


async def test_the_first_that_works_is_taken(tmp_path: Path) -> None:
    found = await find_sandbox(wanted(tmp_path, "bubblewrap", "landlock"))
    assert found.confinement.name == "bubblewrap"
    found = await find_sandbox(wanted(tmp_path, "landlock"))
    assert found.confinement.name == "Landlock"


async def test_without_any_it_says_why(tmp_path: Path) -> None:
    missing = wanted(tmp_path / "nope", "landlock")
    with pytest.raises(SandboxUnavailable, match=r"landlock: .*No such file"):
        await find_sandbox(missing)
    with pytest.raises(SandboxUnavailable, match=r"no sandbox works on this machine$"):
        await find_sandbox(wanted(tmp_path))


class OpenDoor(Landlock):
    """A way to shut in that forgets to."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, Interpreter(Interpreter.own().executable, ("/",)))


async def test_a_sandbox_that_does_not_hold_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(SandboxBroken, match=r"does not keep programs from .*the service's files"):
        await check(Sandbox(OpenDoor(tmp_path), 1))


async def test_a_broken_sandbox_says_at_what(tmp_path: Path, others: set[psutil.Process]) -> None:
    bwrap = shutil.which("bwrap")
    assert bwrap
    nowhere = Interpreter("/no/python", Interpreter.own().readable)
    with pytest.raises(SandboxBroken, match="before it began"):
        await Sandbox(Bubblewrap(bwrap, nowhere), 1).run(Program("pass"))
    missing = Interpreter(Interpreter.own().executable, ("/no/such/folder",))
    with pytest.raises(SandboxBroken, match="No such file"):
        await Sandbox(Landlock(tmp_path, missing), 1).run(Program("pass"))
    assert children() <= others
