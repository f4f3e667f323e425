"""Files for the service's own account alone."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from services.auth.errors import StartError
from services.auth.private_files import prepare_folder, read_or_make, replace, write_new
from tests.full_disk import files_end_at


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    write_new(tmp_path / "secret", b"x")
    assert mode(tmp_path / "secret") == 0o600


def test_a_new_file_replaces_nothing_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"before")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("there", "link"):
        with pytest.raises(FileExistsError):
            write_new(tmp_path / name, b"x")
    assert (tmp_path / "there").read_bytes() == b"before"
    assert not (tmp_path / "elsewhere").exists()


def test_what_there_is_no_room_for_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"before")
    with files_end_at(10):
        for write, name in ((write_new, "new"), (replace, "there")):
            with pytest.raises(OSError, match="File too large"):
                write(tmp_path / name, b"longer than ten bytes")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("there", b"before")]


def test_replacing_does_not_write_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"before")
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    replace(tmp_path / "link", b"after")
    assert (tmp_path / "victim").read_bytes() == b"before"
    assert (tmp_path / "link").read_bytes() == b"after"
    assert mode(tmp_path / "link") == 0o600


def test_what_was_made_once_stays(tmp_path: Path) -> None:
    first = read_or_make(tmp_path / "key", lambda: b"one")
    second = read_or_make(tmp_path / "key", lambda: b"two")
    assert first == second == b"one"
    assert mode(tmp_path / "key") == 0o600


def test_of_two_that_make_it_at_once_both_get_the_same(tmp_path: Path) -> None:
    path = tmp_path / "key"

    def slow() -> bytes:
        path.write_bytes(b"the other's")
        return b"mine"

    assert read_or_make(path, slow) == b"the other's"
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_a_folder_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    assert mode(prepare_folder(tmp_path / "data")) == 0o700
    assert list((tmp_path / "data").iterdir()) == []


def test_a_folder_that_cannot_be_had_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StartError, match=r"the folder .*data cannot be written: Not a directory"):
        prepare_folder(tmp_path / "file" / "data")


def test_an_unreadable_file_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir()
    with pytest.raises(StartError, match="cannot be used"):
        read_or_make(tmp_path / "key", lambda: b"x")
