from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.tools.builtin.file_search import MAX_SHOWN_CHARACTERS, file_info, file_search
from services.tools.builtin.patterns import Matcher
from services.tools.errors import FileMissing, PathNotAllowed, PatternInvalid, PatternTooSlow
from tests.tools.builtin.conftest import Use


def test_lines_are_found_in_every_file(use: Use, home: Path) -> None:
    (home / "data").mkdir()
    (home / "data" / "a.csv").write_bytes("x\r\nplantes à l'eau\r\n".encode("windows-1252"))
    (home / "data" / "binary").write_bytes(b"plant\0")
    (home / "link").symlink_to("/etc/passwd")
    assert use(file_search, query="plant") == {
        "matches": [
            {"file_path": "data/a.csv", "line": 2, "text": "plantes à l'eau"},
            {"file_path": "notes/todo.txt", "line": 1, "text": "- water the plants"},
        ],
        "searched_files": 3,
        "truncated": False,
    }
    assert len(use(file_search, query="plant", directory="notes")["matches"]) == 1
    assert len(use(file_search, query="plant", pattern="*.csv")["matches"]) == 1
    assert use(file_search, query="root")["matches"] == []


def test_text_is_taken_as_it_stands_and_patterns_as_patterns(use: Use, home: Path) -> None:
    (home / "t").write_text("a.b\nacb\nA.B\n")
    lines = {
        "text": use(file_search, query="a.b"),
        "pattern": use(file_search, query="^a.b$", regex=True),
        "case": use(file_search, query="a.b", ignore_case=True),
    }
    found = {name: [match["line"] for match in result["matches"]] for name, result in lines.items()}
    assert found == {"text": [1], "pattern": [1, 2], "case": [1, 3]}


def test_what_is_found_is_cut(use: Use, home: Path) -> None:
    (home / "t").write_text("hit\n" * 10 + "x" * 1000 + "end" + "y" * 1000)
    result = use(file_search, query="hit", limit=3)
    assert (len(result["matches"]), result["truncated"]) == (3, True)
    shown = use(file_search, query="end")["matches"][0]["text"]
    assert len(shown) == MAX_SHOWN_CHARACTERS
    assert "end" in shown


def test_a_broken_pattern_is_named(use: Use) -> None:
    with pytest.raises(PatternInvalid, match="missing"):
        use(file_search, query="(", regex=True)


@pytest.mark.parametrize("pattern", ["(" * 450 + ")" * 450, "[", "a{2,1}", "(?P<n>a)(?P=m)"])
def test_a_pattern_that_cannot_be_made_is_refused(pattern: str) -> None:
    with pytest.raises(PatternInvalid):
        Matcher(pattern, "file_search")


def test_a_catastrophic_pattern_is_ended() -> None:
    matcher = Matcher(r"(?:(?:a|b|ab)+)+$", "file_search", seconds=0.05)
    with pytest.raises(PatternTooSlow) as caught:
        matcher.search("ab" * 30 + "!")
    assert caught.value.metadata == {"tool": "file_search", "timeout_seconds": "0.05"}
    with pytest.raises(PatternTooSlow):
        matcher.search("b")


def test_a_file_and_a_folder_are_described(use: Use, home: Path) -> None:
    os.utime(home / "welcome.txt", (0, 0))
    assert use(file_info, path="welcome.txt") == {
        "path": "welcome.txt",
        "type": "file",
        "size_bytes": 9,
        "modified": "1970-01-01T00:00:00+00:00",
        "media_type": "text/plain",
        "encoding": "utf-8",
    }
    (home / "b").write_bytes(b"\0\1")
    assert "encoding" not in use(file_info, path="b")
    described = use(file_info, path="notes")
    assert (described["type"], described["size_bytes"]) == ("directory", 0)


@pytest.mark.parametrize("path", ["link", "../x", "fifo"])
def test_nothing_else_is_described(use: Use, home: Path, path: str) -> None:
    (home / "link").symlink_to("/etc/passwd")
    os.mkfifo(home / "fifo")
    with pytest.raises(PathNotAllowed):
        use(file_info, path=path)
    with pytest.raises(FileMissing):
        use(file_info, path="nothing")
