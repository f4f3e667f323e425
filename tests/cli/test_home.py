import os
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cli.home import AlreadyHeld, Home, ProcessState, StackState, process_state, this_process, write_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_and_state_are_their_owner_s_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.write_state(StackState(supervisor=this_process(), edge_address="127.0.0.1:1"))
    assert (mode(home.path), mode(home.path / "run"), mode(home.state_path)) == (0o700, 0o700, 0o600)


def test_a_state_that_is_not_there_or_broken_means_nothing_runs(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.running() is None
    home.folder("run")
    home.state_path.write_text("{")
    assert home.read_state() is None


def test_a_file_that_cannot_be_replaced_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "state" / "in the way").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        write_private(tmp_path / "state", "{}")
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


def test_a_state_names_a_process_for_good(tmp_path: Path) -> None:
    home = Home(tmp_path)
    own = this_process()
    home.write_state(StackState(supervisor=own, edge_address="a:1"))
    assert home.running() is not None
    # The same number given to another process later is another process.
    home.write_state(
        StackState(supervisor=own.model_copy(update={"started": own.started - 5}), edge_address="a:1")
    )
    assert home.running() is None


def test_a_process_that_ended_is_not_alive() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    state = process_state(ended.pid, phase="ready", restarts=0, address="")
    ended.wait()
    assert not state.is_alive()
    assert not ProcessState().is_alive()


def test_only_one_supervisor_holds_a_home(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.held(), pytest.raises(AlreadyHeld), home.held():
        pass
    with home.held():
        assert psutil.pid_exists(os.getpid())
