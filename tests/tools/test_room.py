"""How much a workspace may hold, whoever fills it."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from services.tools import changing
from services.tools.beneath import Folder
from services.tools.builtin.file_changes import FileWriteArguments, file_write
from services.tools.catalogue import WorkerCall
from services.tools.changing import append, copy_file, make_folder, move, put, remove, write_all
from services.tools.errors import PathNotAllowed, WorkspaceFull
from services.tools.room import MAX_DEPTH, Room, Usage, WorkspaceLimits, measure
from services.tools.workspace import CONVERSATIONS, Owner, Workspaces

ADA = Owner("tenant-1", "ada")
TALK = replace(ADA, conversation_id="talk-1")
LIMITS = WorkspaceLimits(bytes=1000, entries=10)


@pytest.fixture
def small(tmp_path: Path) -> Workspaces:
    made = Workspaces(tmp_path / "root", None, LIMITS)
    made.check()
    return made


def write(folder: Folder, path: str, size: int) -> None:
    put(folder, path, lambda made: write_all(made, b"x" * size), replace=True)


def test_what_fits_fits_and_what_does_not_leaves_nothing(small: Workspaces) -> None:
    with small.writing(ADA) as folder:
        write(folder, "a", 600)
        with pytest.raises(WorkspaceFull) as caught:
            write(folder, "b", 401)
        write(folder, "b", 400)
    assert caught.value.metadata == {"limit_bytes": "1000", "limit_entries": "10"}
    assert small.usage(ADA) == Usage(1000, 2)
    assert sorted(os.listdir(small.root / "tenant-1" / "ada")) == ["a", "b"]  # noqa: PTH208


def test_what_is_replaced_counts_no_more(small: Workspaces) -> None:
    with small.writing(ADA) as folder:
        write(folder, "a", 900)
    with small.writing(ADA) as folder:
        write(folder, "a", 1000)
        write(folder, "a", 10)
        write(folder, "b", 990)
    assert small.usage(ADA) == Usage(1000, 2)


@pytest.mark.parametrize(
    "grow",
    [
        lambda folder: append(folder, "a", b"x" * 401),
        lambda folder: append(folder, "new", b"x" * 401),
        lambda folder: copy_file(folder, "a", "b", replace=False),
        lambda folder: write(folder, "a", 1001),
    ],
)
def test_no_way_of_growing_passes_the_limit(small: Workspaces, grow: Callable[[Folder], None]) -> None:
    with small.writing(ADA) as folder:
        write(folder, "a", 600)
        with pytest.raises(WorkspaceFull):
            grow(folder)
    assert small.usage(ADA) == Usage(600, 1)


def test_names_are_counted(small: Workspaces) -> None:
    with small.writing(ADA) as folder:
        make_folder(folder, "/".join("d" * 9), parents=True)
        write(folder, "last", 0)
        with pytest.raises(WorkspaceFull):
            write(folder, "more", 0)
        with pytest.raises(WorkspaceFull):
            make_folder(folder, "more", parents=False)
    assert small.usage(ADA) == Usage(0, 10)


def test_what_is_deleted_makes_room(small: Workspaces) -> None:
    with small.writing(ADA) as folder:
        write(folder, "a", 1000)
        remove(folder, "a", recursive=False)
    with small.writing(ADA) as folder:
        write(folder, "b", 1000)
        move(folder, "b", "c", replace=False)
    assert small.usage(ADA) == Usage(1000, 1)


def test_a_conversation_has_a_folder_of_its_own_beneath_the_user_s(small: Workspaces) -> None:
    with small.writing(TALK) as folder:
        write(folder, "a", 500)
    with small.open(TALK) as folder:
        assert [entry.name for entry in folder.entries()] == ["a"]
    with small.open(replace(ADA, conversation_id="talk-2")) as folder:
        assert list(folder.entries()) == []
    assert (small.root / "tenant-1" / "ada" / CONVERSATIONS / "talk-1" / "a").stat().st_size == 500


def test_all_conversations_share_the_user_s_room(small: Workspaces) -> None:
    with small.writing(TALK) as folder:
        write(folder, "a", 600)
    with small.writing(replace(ADA, conversation_id="talk-2")) as folder, pytest.raises(WorkspaceFull):
        write(folder, "a", 600)
    with small.writing(Owner("tenant-1", "bob", "talk-1")) as folder:
        write(folder, "a", 1000)
    assert small.usage(ADA).bytes == 600


def test_conversations_are_entries_too_even_where_they_are_only_read(small: Workspaces) -> None:
    for number in range(9):
        with small.open(replace(ADA, conversation_id=f"talk-{number}")):
            pass
    for change in (small.open, small.writing):
        with pytest.raises(WorkspaceFull), change(replace(ADA, conversation_id="talk-9")):
            pass
    assert small.usage(ADA) == Usage(0, 10)
    with small.open(TALK) as folder:
        assert list(folder.entries()) == []


def test_what_a_conversation_begins_with_counts_too(small: Workspaces, tmp_path: Path) -> None:
    template = tmp_path / "template"
    template.mkdir()
    (template / "welcome.txt").write_text("x" * 400)
    seeded = replace(small, template=template)
    with seeded.open(TALK):
        pass
    with pytest.raises(WorkspaceFull), seeded.open(replace(ADA, conversation_id="talk-2")):
        pass
    with seeded.writing(TALK) as folder, pytest.raises(WorkspaceFull):
        write(folder, "more", 201)
    assert seeded.usage(ADA) == Usage(800, 4)


@pytest.mark.parametrize("hostile", ["../../bob", "..", "/etc", "a/b", "a\0b"])
def test_no_conversation_id_leads_astray(small: Workspaces, hostile: str) -> None:
    with small.writing(replace(ADA, conversation_id=hostile)) as folder:
        write(folder, "a", 1)
    assert os.listdir(small.root) == ["tenant-1"]  # noqa: PTH208
    assert os.listdir(small.root / "tenant-1") == ["ada"]  # noqa: PTH208


def test_a_file_in_the_way_of_conversations_is_said(small: Workspaces) -> None:
    with small.writing(ADA) as folder:
        write(folder, CONVERSATIONS, 1)
    with pytest.raises(PathNotAllowed, match="a file stands where a folder should"):
        small.open(TALK)


def test_a_link_in_the_way_of_conversations_is_refused(small: Workspaces, tmp_path: Path) -> None:
    with small.open(ADA):
        (small.root / "tenant-1" / "ada" / CONVERSATIONS).symlink_to(tmp_path)
    with pytest.raises(PathNotAllowed):
        small.open(TALK)
    assert sorted(os.listdir(tmp_path)) == ["root"]  # noqa: PTH208


def test_calls_at_once_never_pass_the_limit_together(small: Workspaces) -> None:
    def one(number: int) -> bool:
        with small.writing(ADA) as folder:
            try:
                write(folder, f"f{number}", 300)
            except WorkspaceFull:
                return False
            return True

    with ThreadPoolExecutor(8) as threads:
        kept = list(threads.map(one, range(8)))
    assert sum(kept) == 3
    assert small.usage(ADA) == Usage(900, 3)


def test_the_file_tools_keep_to_it(small: Workspaces) -> None:
    call = WorkerCall(ADA, small, lambda _what: None)
    file_write.run(FileWriteArguments(file_path="a", content="x" * 900), call)
    with pytest.raises(WorkspaceFull):
        file_write.run(FileWriteArguments(file_path="a", content="x" * 200, mode="a"), call)
    assert small.usage(ADA) == Usage(900, 1)


def test_a_folder_too_deep_is_not_made(small: Workspaces) -> None:
    with small.writing(ADA) as folder, pytest.raises(PathNotAllowed, match="deep"):
        make_folder(folder, "/".join("d" * (MAX_DEPTH + 1)), parents=True)
    assert small.usage(ADA) == Usage(0, 0)


def test_no_folder_is_moved_deeper_than_is_measured(small: Workspaces) -> None:
    """Else what lies there would be nobody's, and a workspace without a limit."""
    roomy = replace(small, limits=WorkspaceLimits(bytes=1000, entries=100))
    tall = "/".join("d" * changing.MAX_DEPTH)
    with roomy.writing(ADA) as folder:
        make_folder(folder, tall, parents=True)
        make_folder(folder, "a/b", parents=True)
        above = tall.rpartition("/")[0].rpartition("/")[0]
        move(folder, "a", f"{above}/a", replace=False)
        with pytest.raises(PathNotAllowed, match="deep"):
            move(folder, f"{above}/a", f"{above}/d/a", replace=False)
        write(folder, f"{above}/a/b/deepest", 900)
    with roomy.writing(ADA) as folder, pytest.raises(WorkspaceFull):
        write(folder, "more", 101)


def test_measuring_looks_no_further_than_it_must(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}").write_text("12345")
    (tmp_path / "0").unlink()
    (tmp_path / "0").symlink_to("/etc")
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        assert measure(handle, LIMITS).entries == 11
        assert measure(handle, WorkspaceLimits()) == Usage(95, 20)
    finally:
        os.close(handle)


def test_room_that_was_refused_is_not_used_up() -> None:
    room = Room(LIMITS, Usage(0, 0))
    with pytest.raises(WorkspaceFull):
        room.take(10, 11)
    room.take(1000, 10)
    room.take(-1000, -10)
    room.take(1000, 10)
    with pytest.raises(WorkspaceFull):
        room.take(1)
