"""The edge as a container runs it: a real Envoy under `python -m deploy.envoy.serve`."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from cli.local.preflight import free_port
from cli.probe import main as probe
from deploy.envoy.admin import Admin
from deploy.envoy.serve import main
from services.rpc.tls import TlsFiles
from tests.deploy.imports import ROOT
from tests.edge.front import eventually

pytestmark = pytest.mark.slow

STOP_SECONDS = 30

Identity = Callable[[str], TlsFiles]


@pytest.fixture
def edge(identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Admin:
    """The variables of an edge whose services are not there yet, and its admin interface."""
    files = identity("edge")
    told = {
        "LISTEN_ADDRESS": f"127.0.0.1:{free_port()}",
        "TLS_CERTIFICATE_PATH": files.certificate,
        "TLS_PRIVATE_KEY_PATH": files.private_key,
        "TLS_AUTHORITY_PATH": files.authority,
        "AUTH_ADDRESSES": '["127.0.0.1:1"]',
        "TOOLS_ADDRESSES": '["127.0.0.1:1"]',
        "MODELS": '{"demo": ["127.0.0.1:1"]}',
        "ADMIN_ADDRESS": f"unix:{tmp_path}/admin.sock",
    }
    for name, value in told.items():
        monkeypatch.setenv(f"PARLEY_EDGE_{name}", str(value))
    return Admin(f"unix:{tmp_path}/admin.sock")


def is_healthy() -> bool | None:
    return probe(["edge"]) == 0 or None


@pytest_asyncio.fixture
async def running(edge: Admin, tmp_path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The edge's process, once its Envoy listens."""
    command = (sys.executable, "-m", "deploy.envoy.serve", "--folder", str(tmp_path), "--threads", "1")
    process = await asyncio.create_subprocess_exec(*command, env=dict(os.environ))
    await eventually(lambda: asyncio.to_thread(is_healthy))
    yield process
    if process.returncode is None:
        process.kill()
        await process.wait()


async def test_it_is_healthy_and_ends_well_when_it_is_told_to(running: asyncio.subprocess.Process) -> None:
    assert running.returncode is None
    running.terminate()
    assert await asyncio.wait_for(running.wait(), STOP_SECONDS) == 0
    assert await asyncio.to_thread(probe, ["edge"]) == 1


def test_settings_that_are_wrong_are_told_and_nothing_starts(
    edge: Admin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARLEY_EDGE_MODELS", "{}")
    assert main(["--folder", str(tmp_path)]) == 2
    assert "PARLEY_EDGE_MODELS" in capsys.readouterr().err


def test_an_edge_that_could_not_be_drained_is_refused(
    edge: Admin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PARLEY_EDGE_ADMIN_ADDRESS")
    assert main(["--folder", str(tmp_path)]) == 2
    assert "needed to drain" in capsys.readouterr().err


def test_the_wheel_that_images_install_renders_the_configuration(edge: Admin, tmp_path: Path) -> None:
    """Nothing of the checkout is needed: what is read lies within the packages."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, timeout=120, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    render = [sys.executable, "-P", "-m", "deploy.envoy.render", "--output", str(tmp_path / "envoy.json")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run(
        render, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "envoy.json").is_file()
