"""`python_run` with the sandbox that works here, and what becomes of it where none does."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.rpc.principal import Principal
from services.tools.builtin.python.run import EXAMPLES, PythonRunArguments, python_tools
from services.tools.builtin.python.toolset import sandbox_tools
from services.tools.builtin.python.workspace_files import MAX_BYTES, MAX_DEPTH, MAX_FILES, MAX_SEEN
from services.tools.catalogue import Catalogue, Example, LoopCall, Tool
from services.tools.errors import (
    DataTooLarge,
    FileMissing,
    PathNotAllowed,
    ProgramLimitReached,
    ToolDisabled,
    ToolFailed,
    WorkspaceFull,
)
from services.tools.events import Output
from services.tools.room import WorkspaceLimits
from services.tools.sandbox.confinement import Bubblewrap, Interpreter
from services.tools.sandbox.policy import Limits
from services.tools.sandbox.sandbox import Sandbox
from services.tools.settings import ToolsSettings
from services.tools.workspace import Owner, Workspaces
from tests.conftest import TokenMaker

Run = Callable[..., Awaitable[dict[str, object]]]


@pytest.fixture
def small(tmp_path: Path) -> Workspaces:
    made = Workspaces(tmp_path / "root", None, WorkspaceLimits(bytes=64 * 2**20, entries=600))
    made.check()
    return made


@pytest.fixture
def principal(tokens: TokenMaker) -> Principal:
    return tokens.principal("tools.*")


@pytest.fixture
def home(small: Workspaces, principal: Principal) -> Path:
    with small.open(Owner(principal.tenant_id, principal.user_id)):
        return small.root / principal.tenant_id / principal.user_id


def sandbox() -> Sandbox:
    return Sandbox(Bubblewrap(shutil.which("bwrap") or "", Interpreter.own()), 2)


@pytest.fixture
def run(small: Workspaces, principal: Principal, heard: list[str]) -> Run:
    (python_run,) = python_tools(sandbox(), small, limits=Limits(output_bytes=1000, memory_bytes=2**28))

    async def report(what: object) -> None:
        assert isinstance(what, Output)
        heard.append(what.text)

    async def running(code: str, conversation: str = "", **more: object) -> dict[str, object]:
        call = LoopCall(principal, report, conversation_id=conversation)
        result = await python_run.run(PythonRunArguments(code=code, **more), call)
        return json.loads(result.to_json())

    return running


@pytest.fixture
def heard() -> list[str]:
    return []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
async def test_an_example_gives_what_it_says(run: Run, home: Path, example: Example) -> None:
    for path, text in example.files.items():
        (home / path).write_text(text)
    assert await run(**example.arguments) == example.result


async def test_what_it_prints_is_heard_and_told(run: Run, heard: list[str]) -> None:
    result = await run("import sys\nprint('out')\nprint('err', file=sys.stderr)\nsys.exit(3)")
    assert result == {"exit_status": 3, "stdout": "out\n", "stderr": "err\n", "files": []}
    assert sorted(heard) == ["err\n", "out\n"]


async def test_all_files_go_in_when_none_is_named(run: Run, home: Path) -> None:
    (home / "a").mkdir()
    (home / "a" / "b.txt").write_text("deep")
    (home / "c.txt").write_text("flat")
    (home / "conversations" / "other").mkdir(parents=True)
    (home / "conversations" / "other" / "d.txt").write_text("of another conversation")
    code = "import os\nprint(sorted(f'{top}/{name}' for top, _, names in os.walk('.') for name in names))"
    assert (await run(code))["stdout"] == "['./a/b.txt', './c.txt']\n"
    assert (await run(code, files=["./a/"]))["stdout"] == "['./a/b.txt']\n"
    assert (await run(code, files=[]))["stdout"] == "[]\n"


async def test_a_conversation_s_program_sees_its_own_files_only(run: Run, home: Path) -> None:
    (home / "mine.txt").write_text("the user's")
    code = "import os\nprint(os.listdir('.'))\nopen('made.txt', 'w').write('x')"
    assert (await run(code, conversation="talk-1"))["stdout"] == "[]\n"
    assert (await run(code, conversation="talk-1"))["stdout"] == "['made.txt']\n"
    assert (home / "conversations" / "talk-1" / "made.txt").read_text() == "x"


async def test_files_come_back(run: Run, home: Path) -> None:
    (home / "old.txt").write_text("old")
    result = await run(
        "import os\nos.makedirs('new/er')\nopen('new/er/f', 'wb').write(bytes(256))\n"
        "open('old.txt', 'a').write('!')"
    )
    assert result["files"] == [{"path": "new/er/f", "size_bytes": 256}, {"path": "old.txt", "size_bytes": 4}]
    assert (home / "new" / "er" / "f").read_bytes() == bytes(256)
    assert (home / "old.txt").read_text() == "old!"


async def test_no_link_comes_back(run: Run, home: Path) -> None:
    result = await run("import os\nos.symlink('/etc/passwd', 'link')\nos.symlink('..', 'up')")
    assert (result["files"], sorted(result["left_out"])) == ([], ["link", "up"])
    assert os.listdir(home) == []  # noqa: PTH208


async def test_what_something_else_stands_in_the_way_of_is_told(run: Run, home: Path) -> None:
    (home / "a").mkdir()
    result = await run("import os\nopen('a', 'w').write('x')\nopen('b', 'w').write('y')", files=[])
    assert result["left_out"] == ["a"]
    assert result["files"] == [{"path": "b", "size_bytes": 1}]


async def test_a_full_workspace_is_said(run: Run, home: Path) -> None:
    (home / "large").write_bytes(bytes(40 * 2**20))
    with pytest.raises(WorkspaceFull):
        await run("open('more', 'wb').write(bytes(30 * 2**20))", files=[])
    assert os.listdir(home) == ["large"]  # noqa: PTH208


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("../x", PathNotAllowed),
        ("/etc/passwd", PathNotAllowed),
        ("/", PathNotAllowed),
        ("link", PathNotAllowed),
        ("fifo", PathNotAllowed),
        ("nope", FileMissing),
    ],
)
async def test_only_the_workspace_s_plain_files_go_in(
    run: Run, home: Path, path: str, error: type[Exception]
) -> None:
    (home / "link").symlink_to("/etc/passwd")
    os.mkfifo(home / "fifo")
    with pytest.raises(error):
        await run("pass", files=[path])


async def test_too_many_files_must_be_named(run: Run, home: Path) -> None:
    for number in range(MAX_FILES + 1):
        (home / f"{number}").touch()
    with pytest.raises(DataTooLarge, match="name the files"):
        await run("pass")
    assert (await run("print(open('7').read() == '')", files=["7"]))["stdout"] == "True\n"


async def test_folders_named_over_and_over_are_looked_at_only_so_often(run: Run, home: Path) -> None:
    for number in range(MAX_SEEN // MAX_FILES + 1):
        (home / f"{number}").mkdir()
    with pytest.raises(DataTooLarge):
        await run("pass", files=["."] * MAX_FILES)


async def test_too_large_files_are_refused(run: Run, home: Path) -> None:
    (home / "large").write_bytes(bytes(MAX_BYTES + 1))
    with pytest.raises(DataTooLarge):
        await run("pass")


async def test_a_deep_tree_goes_in_so_far(run: Run, home: Path) -> None:
    deep = home.joinpath(*["d"] * (MAX_DEPTH + 5))
    deep.mkdir(parents=True)
    (deep / "f").touch()
    assert (await run("import os\nprint(os.listdir('.'))"))["stdout"] == "[]\n"


@pytest.mark.parametrize(
    ("code", "limit"),
    [
        ("print('x' * 2000)", "output_bytes"),
        ("import time\ntime.sleep(100)", "seconds"),
        ("while True: pass", "seconds"),
    ],
)
async def test_a_limit_has_an_error_of_its_own(run: Run, code: str, limit: str) -> None:
    with pytest.raises(ProgramLimitReached) as caught:
        await run(code, timeout_seconds=1)
    assert caught.value.metadata["limit"] in (limit, "cpu_seconds")
    assert caught.value.to_status().code


async def test_a_sandbox_that_breaks_is_said(small: Workspaces, principal: Principal) -> None:
    broken = Sandbox(Bubblewrap("/bin/false", Interpreter.own()), 1)
    (python_run,) = python_tools(broken, small)
    with pytest.raises(ToolFailed, match="did not start"):
        await python_run.run(PythonRunArguments(code="pass"), LoopCall(principal, ignore))


async def ignore(_what: object) -> None:
    """Nobody listens."""


def settings(tmp_path: Path, **more: object) -> ToolsSettings:
    path = tmp_path / "x"
    return ToolsSettings(
        tls_certificate_path=path,
        tls_private_key_path=path,
        tls_authority_path=path,
        auth_address="127.0.0.1:1",
        workspace_path=tmp_path / "root",
        **more,
    )


@pytest.mark.parametrize("kind", ["auto", "landlock"])
async def test_the_tools_are_on_where_a_sandbox_works(tmp_path: Path, small: Workspaces, kind: str) -> None:
    (python_run,) = await sandbox_tools(settings(tmp_path, sandbox=kind), small)
    assert python_run.unavailable == ""


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"sandbox": "off"}, "PARLEY_TOOLS_SANDBOX is off"),
        ({"sandbox_python_path": "/no/such/python"}, "no sandbox works on this machine; bubblewrap: "),
    ],
)
async def test_the_tools_are_off_and_say_why(
    tmp_path: Path, small: Workspaces, principal: Principal, more: dict[str, object], why: str
) -> None:
    tools: tuple[Tool, ...] = await sandbox_tools(settings(tmp_path, **more), small)
    assert why in tools[0].message.unavailable
    with pytest.raises(ToolDisabled) as caught:
        Catalogue(tools).find_callable("python_run", principal)
    assert why in caught.value.message
    with pytest.raises(ToolFailed):
        await tools[0].run(PythonRunArguments(code="pass"), LoopCall(principal, ignore))


@pytest.mark.parametrize(
    "arguments",
    [{}, {"code": ""}, {"code": "x", "timeout_seconds": 0}, {"code": "x", "timeout_seconds": 10_000}],
)
def test_other_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PythonRunArguments(**arguments)
