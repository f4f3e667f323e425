"""The tool of the guide, installed as a package of its own and called in a worker."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import sysconfig
import venv
from asyncio.subprocess import PIPE
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from services.tools.plugins import GROUP, PluginUnusable, plugin_tools
from tests.tools import sample_tools
from tests.tools.test_catalogue import double

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "write-a-tool.md"
SECONDS = 60.0

CALL = """
import asyncio, json, sys
from pathlib import Path
from services.tools.arguments import parse_arguments
from services.tools.catalogue import Catalogue
from services.tools.plugins import installed, plugin_tools
from services.tools.workers import WorkerPool
from services.tools.workspace import Owner, Workspaces

async def call(tools):
    workspaces = Workspaces(Path(sys.argv[1]), None)
    pool = WorkerPool(workspaces, Catalogue(tools).worker_modules, 1)
    async with pool.lend() as worker:
        arguments = parse_arguments(tools[0], '{"name": "Ada"}', 1000)
        print(await worker.run(tools[0], pool.call(tools[0], arguments, Owner("t", "u")), print))
    await pool.stop()

tools = plugin_tools(installed(), ())
print(json.dumps([tool.permission for tool in tools]))
asyncio.run(call(tools))
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(), re.DOTALL)


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment with all that this one has, into which packages can be put."""
    folder = tmp_path / "environment"
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    here = sysconfig.get_paths()["purelib"]
    (packages_of(folder) / "parent.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    return folder


def packages_of(environment: Path) -> Path:
    return environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def install(environment: Path, code: str, entry_point: str) -> None:
    """Put a package there, as an installer does."""
    packages = packages_of(environment)
    (packages / "greeting.py").write_text(code)
    metadata = packages / "parley_greeting-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: parley-greeting\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[parley.tools]\n{entry_point}\n")


async def use_plugins(environment: Path) -> list[str]:
    """What a service in that environment finds, line by line."""
    script = environment / "call.py"
    script.write_text(CALL)
    process = await asyncio.create_subprocess_exec(
        str(environment / "bin" / "python"),
        str(script),
        str(environment / "workspaces"),
        stdout=PIPE,
        stderr=PIPE,
    )
    async with asyncio.timeout(SECONDS):
        said, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return said.decode().splitlines()


async def test_the_tool_of_the_guide_works_once_it_is_installed(environment: Path) -> None:
    code = blocks("python")[0]
    assert len([line for line in code.splitlines() if line]) <= 10
    install(environment, code, "greet = greeting:greet")
    assert 'greet = "greeting:greet"' in blocks("toml")[0]
    permissions, result = await use_plugins(environment)
    assert json.loads(permissions) == ["tools.utility.greet"]
    assert json.loads(result) == {"greeting": "Hello, Ada!"}


def plugin(value: str) -> EntryPoint:
    return EntryPoint("mine", value, GROUP)


def test_a_plug_in_may_bring_several_tools() -> None:
    tools = plugin_tools(
        [plugin("tests.tools.sample_tools:TOOLS"), plugin("tests.tools.test_catalogue:double")], ()
    )
    assert tools == (*sample_tools.TOOLS, double)
    assert plugin_tools([], ("double",)) == ()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("no.such.module:tool", "cannot be loaded: No module named 'no'"),
        ("tests.tools.sample_tools:nothing", "cannot be loaded: module"),
        ("tests.tools.sample_tools:LIMIT_BYTES", "gives a int, where a tool should be"),
        ("tests.tools.sample_tools:echo", "takes the name of the tool echo"),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_named(value: str, told: str) -> None:
    with pytest.raises(PluginUnusable, match=f"^the plug-in mine {told}"):
        plugin_tools([plugin(value)], ("echo",))


def test_two_plug_ins_cannot_bring_one_name() -> None:
    twice = [plugin("tests.tools.sample_tools:echo"), plugin("tests.tools.sample_tools:TOOLS")]
    with pytest.raises(PluginUnusable, match="takes the name of the tool echo"):
        plugin_tools(twice, ())
