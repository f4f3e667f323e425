from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.tools.workspace import Owner, Workspaces, WorkspaceUnusable, folder_name

ADA = Owner("tenant-1", "ada")


def names(workspaces: Workspaces, owner: Owner) -> list[str]:
    with workspaces.open(owner) as folder:
        return sorted(entry.name for entry in folder.entries())


def test_a_fresh_workspace_holds_the_template(workspaces: Workspaces) -> None:
    workspaces.check()
    assert names(workspaces, ADA) == ["notes", "welcome.txt"]
    home = workspaces.root / "tenant-1" / "ada"
    assert (home / "notes" / "todo.txt").read_text() == "- water the plants\n"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.parent.stat().st_mode) == 0o700


def test_a_used_workspace_is_left_as_it_is(workspaces: Workspaces) -> None:
    workspaces.check()
    names(workspaces, ADA)
    (workspaces.root / "tenant-1" / "ada" / "welcome.txt").unlink()
    assert names(workspaces, ADA) == ["notes"]


def test_nobody_sees_another_s_workspace(workspaces: Workspaces) -> None:
    workspaces.check()
    names(workspaces, ADA)
    (workspaces.root / "tenant-1" / "ada" / "mine.txt").write_text("x")
    assert "mine.txt" not in names(workspaces, Owner("tenant-1", "bob"))
    assert "mine.txt" not in names(workspaces, Owner("tenant-2", "ada"))


def test_without_a_template_it_starts_empty(tmp_path: Path) -> None:
    workspaces = Workspaces(tmp_path / "root", None)
    workspaces.check()
    assert names(workspaces, ADA) == []


def test_many_first_uses_at_once_make_one_workspace(workspaces: Workspaces) -> None:
    workspaces.check()
    with ThreadPoolExecutor(16) as threads:
        seen = list(threads.map(lambda _: names(workspaces, ADA), range(32)))
    assert seen == [["notes", "welcome.txt"]] * 32
    assert os.listdir(workspaces.root / "tenant-1") == ["ada"]  # noqa: PTH208 - no scratch folder is left


@pytest.mark.parametrize("hostile", ["..", ".", "", "a/b", "/etc", "a\0b", "x" * 65, "~a", ".new-1", "Ünï"])
def test_an_id_cannot_lead_astray(hostile: str, tmp_path: Path) -> None:
    name = folder_name(hostile)
    assert name.startswith("~")
    assert "/" not in name
    assert name != folder_name(hostile + "x")
    workspaces = Workspaces(tmp_path / "root", None)
    workspaces.check()
    assert names(workspaces, Owner(hostile, hostile)) == []
    assert os.listdir(tmp_path) == ["root"]  # noqa: PTH208


def test_plain_ids_keep_their_name() -> None:
    assert folder_name("01JD3-a_B") == "01JD3-a_B"


def test_a_root_that_cannot_be_made_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceUnusable, match=r"cannot keep workspaces in .*: Not a directory"):
        Workspaces(tmp_path / "file" / "root", None).check()


def test_a_template_that_is_missing_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceUnusable, match=r"template .* is no folder"):
        Workspaces(tmp_path / "root", tmp_path / "nope").check()


def test_a_workspace_that_cannot_be_made_leaves_no_scratch(workspaces: Workspaces) -> None:
    workspaces.check()
    (workspaces.root / "tenant-1").mkdir()
    (workspaces.root / "tenant-1" / "ada").write_text("in the way")
    with pytest.raises(OSError, match="Not a directory"):
        names(workspaces, ADA)
    assert os.listdir(workspaces.root / "tenant-1") == ["ada"]  # noqa: PTH208
