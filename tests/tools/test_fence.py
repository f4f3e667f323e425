"""What worker processes reach, and what they do not."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from services.tools.arguments import parse_arguments
from services.tools.builtin.database import sqlite_work
from services.tools.builtin.rooms import BUILT_IN
from services.tools.catalogue import Catalogue, Tool
from services.tools.errors import FileMissing, ToolsError
from services.tools.fence import Fence, why_no_fence
from services.tools.workers import WorkerPool
from services.tools.workspace import Owner, Workspaces
from tests.tools import fenced_tools
from tests.tools.test_workers import ignore

OWNER = Owner("tenant-1", "ada")
DENIED = "PermissionError"

Fenced = Callable[..., AbstractAsyncContextManager[WorkerPool]]


@pytest.fixture
def fenced(tmp_path: Path) -> Fenced:
    """Makes a pool of one worker within a fence around its workspaces."""

    @asynccontextmanager
    async def make(
        *, changed: tuple[Path, ...] = (), read: tuple[Path, ...] = ()
    ) -> AsyncIterator[WorkerPool]:
        workspaces = Workspaces(tmp_path / "workspaces", None)
        workspaces.check()
        fence = Fence(tuple(map(str, (workspaces.root, *changed))), tuple(map(str, read)))
        modules = [fenced_tools.__name__, sqlite_work.__name__, *Catalogue(BUILT_IN).worker_modules]
        pool = WorkerPool(workspaces, modules, 1, fence=fence)
        yield pool
        await pool.stop()

    return make


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def run(pool: WorkerPool, tool: Tool, arguments: Mapping[str, Any], owner: Owner = OWNER) -> Any:
    parsed = parse_arguments(tool, json.dumps(arguments), 2**20)
    async with pool.lend() as worker:
        return json.loads(await worker.run(tool, pool.call(tool, parsed, owner), ignore))


async def test_the_machine_is_out_of_reach(fenced: Fenced, tmp_path: Path, listening: int) -> None:
    key = tmp_path / "key.pem"
    key.write_text("secret")
    attempts = {
        "read": [str(key), "/etc/passwd", f"/proc/{os.getpid()}/environ", str(tmp_path / "nothing")],
        "write": [str(key), str(tmp_path / "new"), "/tmp/new"],  # noqa: S108
        "dial": [listening],
        "signal": [os.getpid()],
    }
    async with fenced() as pool:
        met = (await run(pool, fenced_tools.reaching, attempts))["errors"]
    assert met == [DENIED, DENIED, DENIED, "FileNotFoundError", DENIED, DENIED, DENIED, DENIED, DENIED]
    assert key.read_text() == "secret"


async def test_without_a_fence_it_is_not(tmp_path: Path, listening: int) -> None:
    """So that the test above tells something."""
    key = tmp_path / "key.pem"
    key.write_text("secret")
    workspaces = Workspaces(tmp_path / "workspaces", None)
    pool = WorkerPool(workspaces, [fenced_tools.__name__], 1)
    attempts = {"read": [str(key)], "dial": [listening], "signal": [os.getpid()]}
    assert (await run(pool, fenced_tools.reaching, attempts))["errors"] == ["", "", ""]
    await pool.stop()


async def test_what_the_operator_names_is_within_reach(fenced: Fenced, tmp_path: Path) -> None:
    dictionary = tmp_path / "dictionary.txt"
    dictionary.write_text("words")
    attempts = {"read": [str(dictionary)], "write": [str(dictionary)]}
    async with fenced(read=(dictionary,)) as pool:
        assert (await run(pool, fenced_tools.reaching, attempts))["errors"] == ["", DENIED]


async def test_every_example_works_within_it(fenced: Fenced, tmp_path: Path) -> None:
    shown = [(tool, example) for tool in BUILT_IN if tool.in_worker for example in tool.examples]
    async with fenced() as pool:
        for number, (tool, example) in enumerate(shown):
            owner = Owner("tenant-1", f"user-{number}")
            for path, text in example.files.items():
                file = tmp_path / "workspaces" / owner.tenant_id / owner.user_id / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            made = await run(pool, tool, example.arguments, owner)
            assert made.keys() == example.result.keys() if example.varies else made == example.result


async def test_data_goes_to_parquet_and_back_within_it(fenced: Fenced) -> None:
    tools = {tool.name: tool for tool in BUILT_IN}
    there = {"data": "a,b\n1,2\n", "from_format": "csv", "to_format": "parquet", "output_path": "t.parquet"}
    back = {"file_path": "t.parquet", "from_format": "parquet", "to_format": "json"}
    async with fenced() as pool:
        await run(pool, tools["data_transform"], there)
        moved = {"operation": "move", "path": "t.parquet", "destination": "deeper/t.parquet"}
        await run(pool, tools["file_manage"], {"operation": "mkdir", "path": "deeper"})
        await run(pool, tools["file_manage"], moved)
        made = await run(pool, tools["data_transform"], {**back, "file_path": "deeper/t.parquet"})
        assert json.loads(made["output"]) == [{"a": 1, "b": 2}]
        with pytest.raises(FileMissing):
            await run(pool, tools["data_transform"], back)


async def test_sqlite_files_are_changed_where_they_are(fenced: Fenced, tmp_path: Path) -> None:
    folder, other = tmp_path / "shop", tmp_path / "other"
    for each in (folder, other):
        each.mkdir()
        with closing(sqlite3.connect(each / "shop.db")) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE lamps (name text)")
    statement = {"source": "shop", "seconds": 5.0, "parameters": [], "changed_rows": 5}
    insert = {**statement, "sql": "INSERT INTO lamps VALUES ('oil')"}
    async with fenced(changed=(folder,)) as pool:
        execute = sqlite_work.execute_sqlite
        assert await run(pool, execute, {**insert, "path": str(folder / "shop.db")}) == {"rows": 1}
        with pytest.raises(ToolsError, match="cannot be used now"):
            await run(pool, execute, {**insert, "path": str(other / "shop.db")})


def test_a_machine_that_cannot_says_why() -> None:
    assert why_no_fence() == ""
