from __future__ import annotations

from pathlib import Path

import pytest

from services.tools.builtin import file_changes
from services.tools.builtin.file_changes import file_manage, file_patch, file_write
from services.tools.builtin.patching import apply_patch
from services.tools.errors import (
    DataTooLarge,
    FileExists,
    FileMissing,
    FolderNotEmpty,
    InvalidArguments,
    PatchRejected,
    PathNotAllowed,
    ToolFailed,
)
from tests.tools.builtin.conftest import Use


def test_a_file_is_written_appended_to_and_not_overwritten(use: Use, home: Path) -> None:
    assert use(file_write, file_path="a.txt", content="é\n") == {
        "file_path": "a.txt",
        "written_bytes": 3,
        "total_bytes": 3,
    }
    assert use(file_write, file_path="a.txt", content="b", mode="a")["total_bytes"] == 4
    with pytest.raises(FileExists, match=r"a\.txt exists already"):
        use(file_write, file_path="a.txt", content="c", mode="x")
    assert (home / "a.txt").read_text() == "é\nb"
    use(file_write, file_path="b.txt", content="new", mode="x")
    use(file_write, file_path="a.txt", content="")
    assert (home / "a.txt").read_text() == ""


def test_text_is_written_in_the_encoding_that_is_asked_for(use: Use, home: Path) -> None:
    use(file_write, file_path="a.txt", content="é", encoding="windows-1252")
    assert (home / "a.txt").read_bytes() == b"\xe9"
    with pytest.raises(ToolFailed, match="has no character"):
        use(file_write, file_path="a.txt", content="日", encoding="windows-1252")


def test_missing_folders_are_made_only_when_asked(use: Use, home: Path) -> None:
    with pytest.raises(FileMissing, match="no folder new/deep"):
        use(file_write, file_path="new/deep/a.txt", content="")
    use(file_write, file_path="new/deep/a.txt", content="a", make_folders=True)
    assert (home / "new" / "deep" / "a.txt").read_text() == "a"


@pytest.mark.parametrize("path", ["../a.txt", "/tmp/a.txt", "link/a.txt"])  # noqa: S108
def test_nothing_is_written_outside(use: Use, home: Path, path: str) -> None:
    (home / "link").symlink_to("/tmp")  # noqa: S108
    with pytest.raises(PathNotAllowed):
        use(file_write, file_path=path, content="x", make_folders=True)


TEXT = "one\ntwo\nthree\nfour\nfive\n"


@pytest.mark.parametrize(
    ("text", "patch", "expected"),
    [
        (TEXT, "@@ -2 +2 @@\n-two\n+2\n", "one\n2\nthree\nfour\nfive\n"),
        (
            TEXT,
            "--- a/x\n+++ b/x\n@@ -1,2 +1,3 @@\n one\n+more\n two\n",
            "one\nmore\ntwo\nthree\nfour\nfive\n",
        ),
        (TEXT, "@@ -4,2 +4,1 @@\n four\n-five", "one\ntwo\nthree\nfour\n"),
        (TEXT, "@@ -1 +1 @@\n-four\n+4\n", "one\ntwo\nthree\n4\nfive\n"),
        (TEXT, "@@ -1 +0,0 @@\n-one\n@@ -5 +4 @@\n-five\n+5\n", "two\nthree\nfour\n5\n"),
        ("", "@@ -0,0 +1,2 @@\n+a\n+b\n", "a\nb\n"),
        ("a\r\nb\r\n", "@@ -1,2 +1,2 @@\n a\n-b\n+c\n", "a\r\nc\r\n"),
        ("a", "@@ -1 +1,2 @@\n-a\n\\ No newline at end of file\n+a\n+b\n", "a\nb\n"),
        ("a\n", "@@ -1 +1 @@\n-a\n+b\n\\ No newline at end of file\n", "b"),
        (TEXT, "@@ -2,0 +3 @@\n+2.5\n", "one\ntwo\n2.5\nthree\nfour\nfive\n"),
    ],
)
def test_a_patch_is_applied(text: str, patch: str, expected: str) -> None:
    assert apply_patch(text, patch, "x").text == expected


@pytest.mark.parametrize(
    ("patch", "told"),
    [
        ("@@ -2 +2 @@\n-zwei\n+2\n", "from line 2 on are not there"),
        ("hello", "where one is asked for"),
        ("@@ -1,5 +1 @@\n-one\n", "no unified diff"),
        ("--- a\n+++ a\n@@ -1 +1 @@\n-one\n+1\n--- b\n+++ b\n@@ -1 +1 @@\n-one\n+1\n", "for 2 files"),
        ("@@ -5 +5 @@\n-five\n+5\n@@ -1 +1 @@\n-one\n+1\n", "from line 1 on are not there"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused(patch: str, told: str) -> None:
    with pytest.raises(PatchRejected, match=told):
        apply_patch(TEXT, patch, "x")


def test_a_file_is_patched_whole_or_not_at_all(use: Use, home: Path) -> None:
    (home / "t").write_text(TEXT)
    patch = "@@ -1 +1 @@\n-one\n+1\n"
    expected = {"file_path": "t", "hunks": 1, "added_lines": 1, "removed_lines": 1, "total_bytes": 22}
    assert use(file_patch, file_path="t", patch=patch, dry_run=True) == expected
    assert (home / "t").read_text() == TEXT
    assert use(file_patch, file_path="t", patch=patch) == expected
    with pytest.raises(PatchRejected) as caught:
        use(file_patch, file_path="t", patch=patch)
    assert caught.value.metadata == {"path": "t", "line": "1"}


def test_what_is_no_small_text_is_not_patched(use: Use, home: Path) -> None:
    (home / "b").write_bytes(b"\xff")
    with pytest.raises(ToolFailed, match="not utf-8"):
        use(file_patch, file_path="b", patch="@@ -1 +1 @@\n-one\n+1\n")
    (home / "b").write_bytes(b"x" * (file_changes.MAX_PATCHED_BYTES + 1))
    with pytest.raises(DataTooLarge):
        use(file_patch, file_path="b", patch="@@ -1 +1 @@\n-one\n+1\n")


def test_files_are_managed(use: Use, home: Path) -> None:
    use(file_manage, operation="mkdir", path="x/y", recursive=True)
    copied = use(file_manage, operation="copy", path="welcome.txt", destination="x/y/w")
    assert copied == {"operation": "copy", "path": "welcome.txt", "destination": "x/y/w", "size_bytes": 9}
    with pytest.raises(FileExists):
        use(file_manage, operation="move", path="welcome.txt", destination="x/y/w")
    use(file_manage, operation="move", path="welcome.txt", destination="x/y/w", overwrite=True)
    with pytest.raises(FolderNotEmpty):
        use(file_manage, operation="delete", path="x")
    use(file_manage, operation="delete", path="x", recursive=True)
    assert sorted(path.name for path in home.iterdir()) == ["notes"]


@pytest.mark.parametrize(
    ("algorithm", "checksum"),
    [
        ("md5", "900150983cd24fb0d6963f7d28e17f72"),
        ("sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ],
)
def test_a_checksum_is_the_published_one_of_abc(use: Use, home: Path, algorithm: str, checksum: str) -> None:
    (home / "abc").write_text("abc")
    result = use(file_manage, operation="checksum", path="abc", algorithm=algorithm)
    assert (result["checksum"], result["size_bytes"]) == (checksum, 3)


@pytest.mark.parametrize(
    "arguments",
    [
        {"operation": "copy", "path": "a"},
        {"operation": "delete", "path": "a", "destination": "b"},
        {"operation": "chmod", "path": "a"},
    ],
)
def test_other_arguments_are_refused(use: Use, arguments: dict[str, str]) -> None:
    with pytest.raises(InvalidArguments):
        use(file_manage, **arguments)
