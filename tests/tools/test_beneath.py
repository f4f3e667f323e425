"""Attacks on the confinement, against both ways of opening; each beside what is allowed."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.tools.beneath import Folder, Opener, best_opener, open_by_component, open_in_kernel
from services.tools.errors import FileMissing, PathNotAllowed, ToolsError

SECRET = "secret"
ATTEMPTS = 300


@pytest.fixture(params=[open_in_kernel, open_by_component], ids=["kernel", "by-component"])
def opener(request: pytest.FixtureRequest) -> Opener:
    return request.param


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A workspace with everything that could be in one, beside a folder of secrets."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text(SECRET)
    inside = tmp_path / "inside"
    (inside / "notes" / "deep").mkdir(parents=True)
    (inside / "file.txt").write_text("hello")
    (inside / "notes" / "todo.txt").write_text("todo")
    (inside / "link-out").symlink_to(outside / "secret.txt")
    (inside / "link-in").symlink_to("file.txt")
    (inside / "folder-out").symlink_to(outside)
    (inside / "folder-in").symlink_to("notes")
    (inside / "loop").symlink_to("loop")
    (inside / "proc").symlink_to("/proc/self")
    os.link(outside / "secret.txt", inside / "hard-link")
    os.mkfifo(inside / "fifo")
    return inside


@pytest.fixture
def folder(home: Path, opener: Opener) -> Iterator[Folder]:
    with Folder.at(home, opener) as held:
        yield held


def read(folder: Folder, path: str) -> str:
    descriptor = folder.file(path)
    try:
        return os.read(descriptor, 100).decode()
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("file.txt", "hello"),
        ("./file.txt", "hello"),
        ("notes/todo.txt", "todo"),
        ("notes//todo.txt", "todo"),
        ("notes/./todo.txt", "todo"),
    ],
)
def test_what_is_inside_can_be_read(folder: Folder, path: str, text: str) -> None:
    assert read(folder, path) == text


@pytest.mark.parametrize(
    "path",
    [
        "../outside/secret.txt",
        "notes/../../outside/secret.txt",
        "notes/../file.txt",
        "..",
        "/etc/passwd",
        "/proc/self/environ",
        "//etc/passwd",
        "link-out",
        "link-in",
        "folder-out/secret.txt",
        "folder-in/todo.txt",
        "loop",
        "proc/environ",
        "proc/cwd/secret.txt",
        "hard-link",
        "fifo",
        "notes",
        "",
        ".",
        "a\0b",
        "x" * 300,
        "notes/" * 1000 + "x",
    ],
)
def test_what_leads_out_or_is_no_file_is_refused(folder: Folder, path: str) -> None:
    with pytest.raises(PathNotAllowed) as caught:
        folder.file(path)
    assert caught.value.metadata.keys() == {"path"}
    caught.value.to_status()


@pytest.mark.parametrize("path", ["nope", "notes/nope", "nope/nope", "file.txt/x"])
def test_what_is_not_there_is_missing(folder: Folder, path: str) -> None:
    with pytest.raises(FileMissing):
        folder.file(path)


@pytest.mark.parametrize("path", ["folder-out", "folder-in", "..", "/", "proc", "notes/..", "fifo/x/.."])
def test_a_folder_that_leads_out_is_refused(folder: Folder, path: str) -> None:
    with pytest.raises(PathNotAllowed):
        folder.folder(path)


@pytest.mark.parametrize("path", ["nope", "file.txt", "fifo"])
def test_what_is_no_folder_is_no_folder(folder: Folder, path: str) -> None:
    with pytest.raises(FileMissing, match="no folder"):
        folder.folder(path)


def test_a_folder_within_is_as_confined(folder: Folder) -> None:
    with folder.folder("notes") as notes:
        assert read(notes, "todo.txt") == "todo"
        with pytest.raises(PathNotAllowed):
            notes.file("../file.txt")


def test_a_device_is_refused(opener: Opener) -> None:
    """Only root can make one, so the folder is one that has them."""
    with Folder.at(Path("/dev"), opener) as devices, pytest.raises(PathNotAllowed):
        devices.file("zero")


def test_a_socket_is_refused(folder: Folder, home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.open(home, os.O_RDONLY)
        listening.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
        with pytest.raises(PathNotAllowed):
            folder.file("socket")


def test_a_link_that_is_swapped_in_is_never_followed(folder: Folder, home: Path) -> None:
    """One thread swaps a folder with a link to the secrets while another reads through it."""
    (home / "swap").mkdir()
    (home / "swap" / "secret.txt").write_text("harmless")
    (home / "other").symlink_to(home.parent / "outside")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (home / "swap").rename(home / "aside")
            (home / "other").rename(home / "swap")
            (home / "swap").rename(home / "other")
            (home / "aside").rename(home / "swap")

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = []
    try:
        for _ in range(ATTEMPTS):
            try:
                seen.append(read(folder, "swap/secret.txt"))
            except ToolsError:
                seen.append("refused")
    finally:
        stop.set()
        swapper.join()
    assert SECRET not in seen
    assert len(seen) == ATTEMPTS


def test_only_plain_files_and_folders_are_listed(folder: Folder) -> None:
    listed = {entry.name: entry for entry in folder.entries()}
    assert sorted(listed) == ["file.txt", "hard-link", "notes"]
    assert listed["notes"].is_folder
    assert listed["notes"].size_bytes == 0
    assert listed["file.txt"].size_bytes == 5


def test_a_name_that_is_no_utf_8_is_listed_readably(folder: Folder, home: Path) -> None:
    (home / os.fsdecode(b"caf\xe9")).write_text("")
    assert "caf\ufffd" in [entry.name for entry in folder.entries()]


def test_no_descriptor_is_left_open(home: Path, opener: Opener) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counts, opens nothing more
    for path in ("file.txt", "hard-link", "fifo", "link-out", "nope", "notes/nope", "../x"):
        with Folder.at(home, opener) as held:
            try:
                os.close(held.file(path))
            except ToolsError:
                continue
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_the_kernel_s_way_is_preferred_where_it_works() -> None:
    here = os.open("/", os.O_RDONLY)
    try:
        os.close(open_in_kernel(here, ".", os.O_RDONLY))
        works = True
    except OSError as error:
        works = error.errno not in (errno.ENOSYS, errno.EPERM)
    finally:
        os.close(here)
    assert best_opener() is (open_in_kernel if works else open_by_component)
