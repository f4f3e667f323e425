from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.tools.beneath import Folder, best_opener, open_by_component
from services.tools.changing import (
    MAX_DEPTH,
    Scratch,
    append,
    copy_file,
    make_folder,
    move,
    put,
    remove,
    write_all,
)
from services.tools.errors import FileExists, FileMissing, FolderNotEmpty, PathNotAllowed


@pytest.fixture(params=[best_opener(), open_by_component], ids=["kernel", "component"])
def folder(request: pytest.FixtureRequest, home: Path) -> Iterator[Folder]:
    with Folder.at(home, request.param) as opened:
        yield opened


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A workspace, with something outside that it must never touch."""
    home = tmp_path / "home"
    (home / "notes").mkdir(parents=True)
    (home / "notes" / "todo.txt").write_text("todo")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (home / "out").symlink_to("../outside")
    (home / "link").symlink_to("../outside/secret")
    return home


def write(folder: Folder, path: str, text: str, *, replace: bool = True) -> None:
    put(folder, path, lambda made: write_all(made, text.encode()), replace=replace)


def everything(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in home.rglob("*")}


@pytest.mark.parametrize("scratch", [Scratch.best, Scratch.named])
def test_a_file_is_made_and_replaced(folder: Folder, home: Path, scratch: object) -> None:
    before = everything(home)
    put(folder, "new", lambda made: write_all(made, b"1"), replace=False, scratch=scratch)
    assert (home / "new").read_text() == "1"
    assert (home / "new").stat().st_mode & 0o777 == 0o600
    put(folder, "new", lambda made: write_all(made, b"22"), replace=True, scratch=scratch)
    assert (home / "new").read_text() == "22"
    with pytest.raises(FileExists):
        put(folder, "new", lambda made: write_all(made, b"3"), replace=False, scratch=scratch)
    with pytest.raises(PathNotAllowed, match="it is a folder"):
        put(folder, "notes", lambda made: write_all(made, b"3"), replace=True, scratch=scratch)
    assert everything(home) == before | {"new"}


@pytest.mark.parametrize("scratch", [Scratch.best, Scratch.named])
def test_a_file_that_cannot_be_filled_leaves_nothing_behind(
    folder: Folder, home: Path, scratch: object
) -> None:
    before = everything(home)

    def fill(_made: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(PathNotAllowed, match="no room left"):
        put(folder, "notes/todo.txt", fill, replace=True, scratch=scratch)
    assert everything(home) == before
    assert (home / "notes" / "todo.txt").read_text() == "todo"


@pytest.mark.parametrize(
    "path", ["", "/etc/x", "../x", "notes/../../x", "out/x", "notes/\0", "x" * 300, ".", "link/x"]
)
def test_nothing_is_written_outside(folder: Folder, home: Path, path: str) -> None:
    before = everything(home.parent)
    changes = (
        lambda: write(folder, path, "x"),
        lambda: append(folder, path, b"x"),
        lambda: make_folder(folder, path, parents=False),
        lambda: make_folder(folder, path, parents=True),
        lambda: copy_file(folder, "notes/todo.txt", path, replace=True),
        lambda: move(folder, "notes", path, replace=True),
        lambda: remove(folder, path, recursive=True),
    )
    for number, change in enumerate(changes):
        if path == "." and number == 3:
            continue  # The workspace is there already.
        with pytest.raises((PathNotAllowed, FileMissing)):
            change()
    assert everything(home.parent) == before
    assert (home.parent / "outside" / "secret").read_text() == "secret"


def test_a_link_is_replaced_or_removed_itself_and_never_followed(folder: Folder, home: Path) -> None:
    with pytest.raises(PathNotAllowed, match="symbolic links"):
        append(folder, "link", b"x")
    with pytest.raises(PathNotAllowed, match="symbolic links"):
        copy_file(folder, "link", "copied", replace=False)
    with pytest.raises(PathNotAllowed, match="symbolic links"):
        move(folder, "link", "moved", replace=False)
    write(folder, "link", "mine")
    assert (home / "link").read_text() == "mine"
    remove(folder, "out", recursive=True)
    assert (home.parent / "outside" / "secret").read_text() == "secret"
    assert not (home / "out").is_symlink()


def test_a_file_with_another_name_is_not_appended_to(folder: Folder, home: Path) -> None:
    os.link(home.parent / "outside" / "secret", home / "hard")
    with pytest.raises(PathNotAllowed, match="another name"):
        append(folder, "hard", b"x")
    os.mkfifo(home / "fifo")
    with pytest.raises(PathNotAllowed):
        append(folder, "fifo", b"x")


def test_what_is_appended_comes_last(folder: Folder, home: Path) -> None:
    append(folder, "log", b"a")
    append(folder, "log", b"b")
    assert (home / "log").read_text() == "ab"


def test_a_file_is_copied(folder: Folder, home: Path) -> None:
    (home / "big").write_bytes(os.urandom(3 * 2**20))
    copy_file(folder, "big", "notes/big", replace=False)
    assert (home / "notes" / "big").read_bytes() == (home / "big").read_bytes()
    with pytest.raises(FileExists):
        copy_file(folder, "big", "notes/big", replace=False)
    with pytest.raises(PathNotAllowed, match="it is a folder"):
        copy_file(folder, "notes", "more", replace=False)


def test_files_and_folders_are_moved(folder: Folder, home: Path) -> None:
    move(folder, "notes", "papers", replace=False)
    assert (home / "papers" / "todo.txt").read_text() == "todo"
    write(folder, "other", "other")
    with pytest.raises(FileExists):
        move(folder, "other", "papers/todo.txt", replace=False)
    move(folder, "other", "papers/todo.txt", replace=True)
    assert (home / "papers" / "todo.txt").read_text() == "other"
    with pytest.raises(PathNotAllowed, match="within itself"):
        move(folder, "papers", "papers/deeper", replace=True)
    with pytest.raises(FileMissing):
        move(folder, "nothing", "x", replace=False)
    make_folder(folder, "empty", parents=False)
    with pytest.raises(FolderNotEmpty):
        move(folder, "empty", "papers", replace=True)


def test_folders_are_made(folder: Folder, home: Path) -> None:
    make_folder(folder, "a/b/c", parents=True)
    make_folder(folder, "a/b/c", parents=True)
    assert (home / "a" / "b" / "c").is_dir()
    with pytest.raises(FileExists):
        make_folder(folder, "a", parents=False)
    with pytest.raises(FileExists):
        make_folder(folder, "notes/todo.txt", parents=True)
    with pytest.raises(FileMissing):
        make_folder(folder, "x/y", parents=False)


def test_a_folder_goes_only_when_it_is_empty_or_said(folder: Folder, home: Path) -> None:
    with pytest.raises(FolderNotEmpty):
        remove(folder, "notes", recursive=False)
    (home / "notes" / "out").symlink_to("../../outside")
    (home / "notes" / "deeper").mkdir()
    (home / "notes" / "deeper" / "x").touch()
    remove(folder, "notes", recursive=True)
    assert not (home / "notes").exists()
    assert (home.parent / "outside" / "secret").exists()
    with pytest.raises(FileMissing):
        remove(folder, "notes", recursive=True)


def test_a_tree_too_deep_is_not_deleted_at_once(folder: Folder, home: Path) -> None:
    (home / "deep").joinpath(*["d"] * (MAX_DEPTH + 3)).mkdir(parents=True)
    with pytest.raises(PathNotAllowed, match="too deep"):
        remove(folder, "deep", recursive=True)
