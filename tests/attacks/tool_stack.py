"""The tools service with everything that it can reach, as a process of the test."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psutil

from cli.local.preflight import free_port
from services.rpc.tls import TlsFiles
from tests.attacks.tool_target import CANARY
from tests.edge.front import READY_SECONDS
from tests.tools.builtin.database.conftest import LAMPS, run_all

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "deploy" / "embedded" / "workspace"
SHOWN_BY_A_SLIP = "PARLEY_TEST_DATABASE_PASSWORD"
SHOWN = "PARLEY_TEST_REGION"
WORKSPACE_BYTES, WORKSPACE_ENTRIES = 2 * 2**20, 300
RESPONSE_BYTES = 64 * 2**10
OPEN_CALLS = 12
CHANGED_ROWS = 2
WORKERS = 2


@dataclass(frozen=True)
class Surroundings:
    """What the service is given.

    Attributes:
        folder: Holds its workspaces, its temporary files, and what it must not reach.
        files: Its mesh identity.
        auth_port: Where auth listens.
        store_port: Where the store listens.
        site_port: The port that web tools may dial beside 80.
        books_url: A PostgreSQL database and its plain owner.
        root_url: The same server and its superuser.
    """

    folder: Path
    files: TlsFiles
    auth_port: int
    store_port: int
    site_port: int
    books_url: str
    root_url: str

    @property
    def workspaces(self) -> Path:
        return self.folder / "workspaces"

    @property
    def outside(self) -> Path:
        return self.folder / "outside"

    @property
    def temporary(self) -> Path:
        return self.folder / "temporary"

    def sources(self) -> dict[str, Any]:
        """The SQL sources: two SQLite files, of which one may be changed, and PostgreSQL by two users."""
        return {
            "shop": {"url": f"sqlite:///{self.folder}/shop.db", "writable": True},
            "archive": {"url": f"sqlite:///{self.folder}/archive.db"},
            "books": {"url": self.books_url, "writable": True},
            "root": {"url": self.root_url},
        }

    def environment(self, address: str) -> dict[str, str]:
        """All that the process gets."""
        told = {
            "LISTEN_ADDRESS": address,
            "TLS_CERTIFICATE_PATH": self.files.certificate,
            "TLS_PRIVATE_KEY_PATH": self.files.private_key,
            "TLS_AUTHORITY_PATH": self.files.authority,
            "AUTH_ADDRESS": f"127.0.0.1:{self.auth_port}",
            "STORE_URL": f"redis://127.0.0.1:{self.store_port}/0",
            "WORKSPACE_PATH": self.workspaces,
            "WORKSPACE_TEMPLATE_PATH": TEMPLATE,
            "WORKSPACE_MAX_BYTES": WORKSPACE_BYTES,
            "WORKSPACE_MAX_ENTRIES": WORKSPACE_ENTRIES,
            "SANDBOX_MEMORY_BYTES": 128 * 2**20,
            "WORKERS": WORKERS,
            "SHOWN_VARIABLES": json.dumps([SHOWN, SHOWN_BY_A_SLIP]),
            "OPEN_CALLS_PER_STREAM": OPEN_CALLS,
            "WEB_PORTS": json.dumps([self.site_port, 80]),
            "WEB_OPEN_NETWORKS": json.dumps(["127.0.0.1/32"]),
            "WEB_MAX_RESPONSE_BYTES": RESPONSE_BYTES,
            "DATABASE_SOURCES": json.dumps(self.sources()),
            "DATABASE_SECONDS": 2,
            "DATABASE_MAX_CHANGED_ROWS": CHANGED_ROWS,
            "DRAIN_SECONDS": 0,
            "GRACE_SECONDS": 1,
        }
        settings = {f"PARLEY_TOOLS_{name}": str(value) for name, value in told.items()}
        own = {SHOWN: "north", SHOWN_BY_A_SLIP: CANARY, "TMPDIR": str(self.temporary)}
        return {"PATH": os.environ["PATH"], **own, **settings}

    def furnish(self) -> None:
        """Make the folders, and the lamps in both SQLite files."""
        for folder in (self.outside, self.temporary):
            folder.mkdir()
        (self.outside / "secret.txt").write_text(CANARY)
        for name in ("shop", "archive"):
            with closing(sqlite3.connect(self.folder / f"{name}.db")) as connection:
                for statement in LAMPS:
                    connection.execute(statement)
                connection.commit()


async def with_a_plain_owner(root_url: str) -> str:
    """The URL of a fresh database with lamps in it, as its plain owner."""
    name = "attacked"
    made = (f"CREATE ROLE {name} LOGIN PASSWORD '{CANARY}'", f"CREATE DATABASE {name} OWNER {name}")
    await run_all(root_url, made)
    parts = urlsplit(root_url)
    host = parts.netloc.rpartition("@")[2]
    url = urlunsplit(parts._replace(netloc=f"{name}:{CANARY}@{host}", path=f"/{name}"))
    await run_all(url, LAMPS)
    return url


@asynccontextmanager
async def tools_process(around: Surroundings) -> AsyncIterator[tuple[psutil.Process, str]]:
    """Run the service in these surroundings; gives its process and where it listens."""
    around.furnish()
    address = f"127.0.0.1:{free_port()}"
    with (around.folder / "tools.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.attacks.tools_process"),
            env=around.environment(address),
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
    try:
        yield psutil.Process(process.pid), address
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), READY_SECONDS)
        shutil.rmtree(around.workspaces, ignore_errors=True)
