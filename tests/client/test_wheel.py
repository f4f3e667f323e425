"""The wheel that programs install: light, typed, and enough to call the platform."""

from __future__ import annotations

import re
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest

from deploy.certificates import CertificateAuthority
from tests.client.fresh_environment import PROJECT, build, closure, install
from tests.client.toy_platform import ToyPlatform

LIGHT = {"googleapis-common-protos", "grpcio", "protobuf", "typing-extensions"}
REPORT = """
import runpy, sys
runpy.run_path(sys.argv[1], run_name="__main__")
files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
print(*sorted({name.partition(".")[0] for name, file in files.items() if "site-packages" in file}))
"""
"""Runs a program, then tells which installed packages it has imported."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_has_the_version_of_the_platform(wheel: Path) -> None:
    project = tomllib.loads((PROJECT.parents[1] / "pyproject.toml").read_text())["project"]
    assert wheel.name == f"parley_client-{project['version']}-py3-none-any.whl"


def test_the_wheel_holds_the_client_and_its_stubs_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {
        "buf",
        "parley",
        "parley_client",
    }
    assert {Path(name).suffix for name in names if ".dist-info/" not in name} == {".py", ".pyi", ".typed", ""}
    assert {"parley/py.typed", "parley_client/py.typed", "buf/validate/py.typed"} <= set(names)
    assert [name for name in names if name.startswith("parley/edge")] == []


def test_the_wheel_needs_grpc_and_protobuf_alone() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert closure(project["dependencies"]) == LIGHT


def test_the_readmes_program_runs_where_nothing_else_is_installed(
    wheel: Path, toy: ToyPlatform, authority: CertificateAuthority, tmp_path: Path
) -> None:
    python = install(wheel, tmp_path / "environment")
    example = re.search(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    assert example
    (tmp_path / "program.py").write_text(example[1])
    toy.lapses, toy.cuts = 1, [4]
    run = subprocess.run(
        [python, "-I", "-c", REPORT, tmp_path / "program.py"],
        cwd=tmp_path,
        env={
            "PARLEY_ADDRESS": toy.address,
            "PARLEY_AUTHORITY_PATH": str(authority.certificate_path),
            "PARLEY_API_KEY": "parley_key",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    *said, report = run.stdout.splitlines()
    assert [line for line in said if line] == ["models: first second", "17 * 23 is 391."]
    assert toy.exchanged == ["parley_key"]
    assert toy.metadata["authorization"] == "Bearer of-parley_key"
    assert set(report.split()) == {"buf", "google", "grpc", "parley", "parley_client", "typing_extensions"}
