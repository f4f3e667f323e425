"""The process: how it starts, what it says when it cannot, and how it stops."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import inspect

from parley.auth.v1 import session_service_pb2
from parley.auth.v1.session_service_pb2_grpc import SessionServiceStub
from services.auth.store.models import Record
from services.auth.store.schema import migrate
from services.rpc.channel import open_channel
from services.rpc.tls import TlsFiles
from services.sql.database import open_engine, parse_url
from tests.auth.conftest import TRUST_DOMAIN

START_SECONDS = 60


@pytest.fixture
def environment(tmp_path: Path, identity: Callable[[str], TlsFiles]) -> dict[str, str]:
    """What a process needs to start."""
    tls = identity("auth")
    return {
        "PARLEY_AUTH_TLS_CERTIFICATE_PATH": str(tls.certificate),
        "PARLEY_AUTH_TLS_PRIVATE_KEY_PATH": str(tls.private_key),
        "PARLEY_AUTH_TLS_AUTHORITY_PATH": str(tls.authority),
        "PARLEY_AUTH_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path / 'data' / 'auth.db'}",
        "PARLEY_AUTH_DATA_PATH": str(tmp_path / "data"),
        "PARLEY_AUTH_DRAIN_SECONDS": "0",
    }


async def start(environment: dict[str, str], *arguments: str) -> asyncio.subprocess.Process:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.auth", *arguments),
        env={**inherited, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def outcome(environment: dict[str, str], *arguments: str) -> tuple[int | None, str]:
    """Exit code, and the lines on standard error that are no log lines."""
    process = await start(environment, *arguments)
    async with asyncio.timeout(START_SECONDS):
        _, errors = await process.communicate()
    lines = [line for line in errors.decode().splitlines() if not line.startswith("{")]
    return process.returncode, "\n".join(lines)


async def test_it_starts_answers_and_stops(
    environment: dict[str, str], identity: Callable[[str], TlsFiles], tmp_path: Path
) -> None:
    process = await start(environment)
    assert process.stderr is not None
    lines = []
    async with asyncio.timeout(START_SECONDS):
        while not lines or lines[-1]["event"] != "listening":
            lines.append(json.loads(await process.stderr.readline()))
    channel = open_channel(
        str(lines[-1]["address"]), tls=identity("edge"), service="auth", trust_domain=TRUST_DOMAIN
    )
    password = (tmp_path / "data" / "admin-password").read_text().strip()
    request = session_service_pb2.LoginRequest(username="admin", password=password)
    answer = await SessionServiceStub(channel).Login(request, timeout=START_SECONDS)
    assert answer.tokens.access_token
    await channel.close()
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(START_SECONDS):
        _, errors = await process.communicate()
    assert process.returncode == 0
    assert password not in errors.decode()
    assert answer.tokens.access_token not in errors.decode()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").rglob("*")}
    assert modes.pop("signing-keys") == 0o700
    assert set(modes.values()) == {0o600}


async def test_wrong_settings_are_named_all_at_once(environment: dict[str, str]) -> None:
    wrong = {
        **environment,
        "PARLEY_AUTH_DATABASE_URL": "mysql://parley:sesame@host/db",
        "PARLEY_AUTH_OBSERVED": '{"a": ["nonsense"]}',
    }
    code, errors = await outcome(wrong)
    assert code == 2
    assert "PARLEY_AUTH_DATABASE_URL" in errors
    assert "PARLEY_AUTH_OBSERVED" in errors
    assert "sesame" not in errors


async def test_an_unknown_setting_is_answered_with_the_nearest_name(environment: dict[str, str]) -> None:
    code, errors = await outcome({**environment, "PARLEY_AUTH_DATA_PAHT": "x"})
    assert code == 2
    assert "did you mean PARLEY_AUTH_DATA_PATH?" in errors


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"PARLEY_AUTH_DATABASE_URL": "postgresql+asyncpg://parley:sesame@127.0.0.1:1/parley"},
            "auth cannot start: the database at postgresql+asyncpg://parley:***@127.0.0.1:1/parley cannot",
        ),
        (
            {"PARLEY_AUTH_DATA_PATH": "/proc/parley"},
            "auth cannot start: the folder /proc/parley cannot be written",
        ),
        ({"PARLEY_AUTH_TLS_AUTHORITY_PATH": "/nowhere.pem"}, "/nowhere.pem"),
    ],
)
async def test_what_keeps_it_from_starting_is_one_line(
    environment: dict[str, str], changes: dict[str, str], told: str
) -> None:
    code, errors = await outcome({**environment, **changes})
    assert code == 1
    assert told in errors
    assert len(errors.splitlines()) == 1


async def test_a_newer_database_is_left_alone(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    url = parse_url(environment["PARLEY_AUTH_DATABASE_URL"])
    await migrate(url)
    engine = open_engine(url)
    async with engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    await engine.dispose()
    code, errors = await outcome(environment)
    assert code == 1
    assert "written by a newer Parley" in errors
    assert len(errors.splitlines()) == 1


async def test_an_operator_goes_back_and_forward(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    engine = open_engine(parse_url(environment["PARLEY_AUTH_DATABASE_URL"]))
    for target, left in (("head", len(Record.metadata.tables)), ("base", 0)):
        assert await outcome(environment, "--migrate-to", target) == (0, "")
        async with engine.connect() as connection:
            names = await connection.run_sync(lambda plain: inspect(plain).get_table_names())
        assert len([name for name in names if name != "alembic_version"]) == left
    await engine.dispose()


async def test_an_operator_copies_the_database(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    copy = tmp_path / "copy.db"
    assert await outcome(environment, "--migrate-to", "head") == (0, "")
    assert await outcome(environment, "--backup-to", str(copy)) == (0, "")
    engine = open_engine(parse_url(f"sqlite+aiosqlite:///{copy}"))
    async with engine.connect() as connection:
        assert "audit_records" in await connection.run_sync(lambda plain: inspect(plain).get_table_names())
    await engine.dispose()
    code, errors = await outcome(environment, "--backup-to", str(copy))
    assert (code, "cannot be copied" in errors) == (1, True)
