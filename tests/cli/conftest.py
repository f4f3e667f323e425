from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cli.__main__ import app
from deploy.certificates import CertificateAuthority
from services.rpc.tls import TlsFiles
from tests.client.toy_platform import ToyPlatform
from tests.client.toy_server import RunningPlatform

Run = Callable[..., Result]


@pytest.fixture
def toy(identity: Callable[[str], TlsFiles]) -> Iterator[ToyPlatform]:
    with RunningPlatform(identity("edge")) as toy:
        yield toy


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def alone(home: Path) -> Run:
    """Runs the command on a machine where nothing else is."""

    def run(*arguments: str, stdin: str | None = None, **environment: str) -> Result:
        surroundings = {"PARLEY_HOME": str(home), "COLUMNS": "200", **environment}
        return CliRunner().invoke(app, arguments, input=stdin, env=surroundings)

    return run


@pytest.fixture
def parley(alone: Run, toy: ToyPlatform, authority: CertificateAuthority) -> Run:
    """Runs the command against the toy platform, with an API key unless told otherwise."""

    def run(*arguments: str, stdin: str | None = None, **environment: str) -> Result:
        deployment = {
            "PARLEY_ADDRESS": toy.address,
            "PARLEY_AUTHORITY_PATH": str(authority.certificate_path),
            "PARLEY_API_KEY": "pk_toy",
        }
        return alone(*arguments, stdin=stdin, **{**deployment, **environment})

    return run
