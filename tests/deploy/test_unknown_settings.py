"""A variable that is no setting stops a process before it begins; tools and web have tests of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cli.environment import command_settings
from services.rpc.settings import SettingsError


@pytest.mark.parametrize(
    ("command", "prefix"),
    [
        (["services.auth"], "PARLEY_AUTH_"),
        (["services.inference"], "PARLEY_INFERENCE_"),
        (["deploy.envoy.render", "--output", "/nowhere/envoy.yaml"], "PARLEY_EDGE_"),
    ],
    ids=["auth", "inference", "edge"],
)
def test_a_typo_stops_a_process_with_one_line(command: list[str], prefix: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", *command],
        env={**os.environ, f"{prefix}LISTEN_ADRESS": "127.0.0.1:0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode != 0
    wanted = f"{prefix}LISTEN_ADRESS is not a setting; did you mean {prefix}LISTEN_ADDRESS?"
    assert run.stdout == ""
    (line,) = run.stderr.splitlines()
    assert line.endswith(wanted)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("PARLEY_HOEM", "PARLEY_HOME"),
        ("PARLEY_AUHT_DATABASE_URL", "PARLEY_AUTH_DATABASE_URL"),
        ("PARLEY_EDGE_LISTEN_ADRESS", "PARLEY_EDGE_LISTEN_ADDRESS"),
        ("PARLEY_TOLS_WORKERS", "PARLEY_TOOLS_WORKERS"),
    ],
)
def test_the_command_names_the_whole_variable_that_was_meant(name: str, nearest: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} is not a setting; did you mean {nearest}[?]$"):
        command_settings({name: ""})
