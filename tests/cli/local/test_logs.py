import json
import stat
from pathlib import Path

from cli.local.logs import KEPT, LogFile


def write(log: LogFile, *lines: str) -> None:
    with log.opened() as file:
        file.write("".join(f"{line}\n" for line in lines).encode())


def test_a_log_is_its_owner_s_alone(tmp_path: Path) -> None:
    write(LogFile(tmp_path / "a.log"), "hello")
    assert stat.S_IMODE((tmp_path / "a.log").stat().st_mode) == 0o600


def test_a_large_log_moves_aside_and_the_oldest_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = LogFile(path, limit_bytes=10)
    for number in range(KEPT + 2):
        write(log, f"number {number} is long")
        log.rotate_if_large()
    assert path.read_text() == ""
    assert (tmp_path / "a.log.1").read_text() == f"number {KEPT + 1} is long\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.log", "a.log.1", "a.log.2", "a.log.3"]


def test_a_log_that_cannot_move_aside_makes_room(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", limit_bytes=10)
    (tmp_path / "a.log.1").write_text("older")
    (tmp_path / "a.log.2" / "in the way").mkdir(parents=True)
    write(log, "a line that is long")
    log.rotate_if_large()
    write(log, "and on")
    assert (tmp_path / "a.log").read_text() == "and on\n"


def test_a_small_log_stays(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log")
    write(log, "hello")
    log.rotate_if_large()
    assert [file.name for file in tmp_path.iterdir()] == ["a.log"]


def test_last_words_are_of_this_run_and_readable(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    write(LogFile(path), "of the run before")
    log = LogFile(path)
    with log.opened():
        assert log.last_words() == ""
    write(log, "first", json.dumps({"event": "cannot listen", "level": "error"}), "", "  ")
    assert log.last_words() == "cannot listen"
    write(log, "x" * 5000)
    assert log.last_words() == "x" * 300


def test_the_last_step_is_what_our_own_process_said(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log")
    write(
        log,
        json.dumps({"event": "loading", "logger": "parley.inference", "level": "info"}),
        json.dumps({"event": "feed lost", "logger": "parley.inference", "level": "warning"}),
        json.dumps({"event": "x", "logger": "y", "level": "info"}),
    )
    write(log, "[1, 2]", "noise")
    assert log.last_step() == "loading"


def test_our_own_error_is_worth_more_than_the_noise_after_it(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log")
    error = {"event": "the engine died", "logger": "parley.inference", "level": "error"}
    write(log, json.dumps(error), "Traceback", "TypeError: 'NoneType' object is not callable")
    assert log.last_words() == "the engine died"
