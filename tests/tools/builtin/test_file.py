from __future__ import annotations

import codecs
import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.tools.builtin import file
from services.tools.builtin.file import MAX_DEPTH, FileListArguments, FileReadArguments, file_list, file_read
from services.tools.catalogue import WorkerCall
from services.tools.errors import FileMissing, PathNotAllowed, ToolFailed
from services.tools.workspace import Owner, Workspaces

OWNER = Owner("tenant-1", "ada")


@pytest.fixture
def call(workspaces: Workspaces) -> WorkerCall:
    workspaces.check()
    with workspaces.open(OWNER):
        return WorkerCall(OWNER, workspaces, lambda _what: None)


@pytest.fixture
def home(call: WorkerCall) -> Path:
    return call.workspaces.root / "tenant-1" / "ada"


def read(call: WorkerCall, path: str, **more: object) -> dict[str, object]:
    return json.loads(file_read.run(FileReadArguments(file_path=path, **more), call).to_json())


def listed(call: WorkerCall, **arguments: object) -> dict[str, object]:
    return json.loads(file_list.run(FileListArguments(**arguments), call).to_json())


def names(call: WorkerCall, **arguments: object) -> list[str]:
    return [entry["name"] for entry in listed(call, **arguments)["entries"]]


def test_a_file_is_read_as_the_model_learned_it(call: WorkerCall) -> None:
    assert read(call, "welcome.txt") == {
        "file_path": "welcome.txt",
        "content": "Welcome!\n",
        "encoding": "utf-8",
        "total_bytes": 9,
        "truncated": False,
    }


def test_an_empty_file_is_empty_text(call: WorkerCall, home: Path) -> None:
    (home / "empty").write_text("")
    assert read(call, "empty")["content"] == ""


def test_a_piece_is_read_and_cut_characters_are_left_out(call: WorkerCall, home: Path) -> None:
    (home / "text").write_text("aé€😀b", encoding="utf-8")
    assert read(call, "text", offset=1, limit=5) == {
        "file_path": "text",
        "content": "é€",
        "encoding": "utf-8",
        "total_bytes": 11,
        "truncated": True,
    }
    assert read(call, "text", offset=2, limit=5)["content"] == "€"
    assert read(call, "text", offset=10)["content"] == "b"
    assert read(call, "text", offset=100) == {**read(call, "text"), "content": ""}


@pytest.mark.parametrize(
    ("data", "encoding", "text"),
    [
        (codecs.BOM_UTF8 + "é".encode(), "utf-8", "é"),
        (codecs.BOM_UTF16_LE + "é😀".encode("utf-16-le"), "utf-16-le", "é😀"),
        (codecs.BOM_UTF16_BE + "é".encode("utf-16-be"), "utf-16-be", "é"),
        (codecs.BOM_UTF32_LE + "é".encode("utf-32-le"), "utf-32-le", "é"),
        (codecs.BOM_UTF32_BE + "é".encode("utf-32-be"), "utf-32-be", "é"),
        ("caf\xe9 \u201cx\u201d".encode("windows-1252"), "windows-1252", "caf\xe9 \u201cx\u201d"),
        (b"caf\xe9 \x81", "iso-8859-1", "caf\xe9 \x81"),
    ],
)
def test_the_encoding_is_found_out(
    call: WorkerCall, home: Path, data: bytes, encoding: str, text: str
) -> None:
    (home / "text").write_bytes(data)
    result = read(call, "text")
    assert (result["encoding"], result["content"]) == (encoding, text)


def test_a_piece_of_wide_text_begins_at_a_character(call: WorkerCall, home: Path) -> None:
    (home / "text").write_bytes(codecs.BOM_UTF16_LE + "abcd".encode("utf-16-le"))
    assert read(call, "text", offset=5, limit=4)["content"] == "bc"


def test_an_encoding_can_be_asked_for(call: WorkerCall, home: Path) -> None:
    (home / "text").write_bytes("é".encode("utf-16-le"))
    assert read(call, "text", encoding="utf-16-le")["content"] == "é"
    (home / "marked").write_bytes(codecs.BOM_UTF16_LE + "é".encode("utf-16-le"))
    assert read(call, "marked", encoding="utf-16-le")["content"] == "é"
    (home / "text").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(ToolFailed, match="not utf-8 text"):
        read(call, "text", encoding="utf-8")


CYRILLIC = "Съешь ещё этих мягких французских булок, да выпей же чаю. " * 4
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。" * 4


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(CYRILLIC, "windows-1251"), (CYRILLIC, "koi8-r"), (JAPANESE, "cp932"), (JAPANESE, "euc-jp")],
)
def test_the_encoding_of_foreign_text_is_found_out(
    call: WorkerCall, home: Path, text: str, encoding: str
) -> None:
    (home / "text").write_bytes(text.encode(encoding))
    result = read(call, "text")
    assert (result["encoding"], result["content"]) == (encoding, text)
    assert read(call, "text", encoding=encoding, limit=20)["content"] == text.encode(encoding)[:20].decode(
        encoding, "ignore"
    )


@pytest.mark.parametrize(
    ("asked", "content", "last", "truncated"),
    [
        ({"start_line": 2, "end_line": 3}, "two\r\nthree\n", 3, True),
        ({"start_line": 3}, "three\nfour", 4, False),
        ({"end_line": 1}, "one\n", 1, True),
        ({"start_line": 9}, "", 8, False),
        ({"start_line": 2, "limit": 6}, "two\r\n", 2, True),
        ({"end_line": 4}, "one\ntwo\r\nthree\nfour", 4, False),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "iso-8859-1"])
def test_lines_are_read_whatever_the_encoding(
    call: WorkerCall,
    home: Path,
    encoding: str,
    asked: dict[str, int],
    content: str,
    last: int,
    truncated: bool,
) -> None:
    (home / "text").write_bytes("one\ntwo\r\nthree\nfour".encode(encoding))
    result = read(call, "text", encoding=encoding, **asked)
    assert (result["content"], result["end_line"], result["truncated"]) == (content, last, truncated)
    assert result["start_line"] == asked.get("start_line", 1)


def test_lines_of_marked_text_begin_after_the_mark(call: WorkerCall, home: Path) -> None:
    (home / "text").write_bytes(codecs.BOM_UTF16_BE + "é\nb".encode("utf-16-be"))
    assert read(call, "text", end_line=1)["content"] == "é\n"


def test_a_line_without_end_is_read_only_so_far(call: WorkerCall, home: Path) -> None:
    (home / "long").write_text("x" * 500_000)
    result = read(call, "long", start_line=1)
    assert result["truncated"]
    assert len(result["content"]) <= 64 * 2**10


@pytest.mark.parametrize("data", [b"\x7fELF\0\0", b"\0", b"\xff\0\xff"])
def test_what_is_no_text_is_not_read(call: WorkerCall, home: Path, data: bytes) -> None:
    (home / "binary").write_bytes(data)
    with pytest.raises(ToolFailed, match="binary is not"):
        read(call, "binary")
    with pytest.raises(ToolFailed, match="binary is not"):
        read(call, "binary", start_line=1)


def test_what_may_not_be_read_is_refused(call: WorkerCall, home: Path) -> None:
    (home / "link").symlink_to("/etc/passwd")
    os.mkfifo(home / "fifo")
    for path in ("link", "fifo", "../../tenant-2/bob/x", "/etc/passwd", "notes"):
        with pytest.raises(PathNotAllowed):
            read(call, path)
    with pytest.raises(FileMissing, match=r"There is no file notes/x\.txt in the workspace\."):
        read(call, "notes/x.txt")


def test_no_descriptor_is_left_open(call: WorkerCall, home: Path) -> None:
    (home / "binary").write_bytes(b"\0")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counts, opens nothing more
    read(call, "welcome.txt")
    listed(call, recursive=True)
    with pytest.raises(ToolFailed):
        read(call, "binary")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_folder_is_listed_as_the_model_learned_it(call: WorkerCall) -> None:
    assert listed(call) == {
        "directory": ".",
        "total_entries": 2,
        "entries": [
            {"name": "notes", "type": "directory", "size_bytes": 0},
            {"name": "welcome.txt", "type": "file", "size_bytes": 9},
        ],
        "truncated": False,
    }


def test_a_listing_goes_below_and_picks_by_pattern(call: WorkerCall, home: Path) -> None:
    (home / "data" / "more").mkdir(parents=True)
    (home / "data" / "a.csv").write_text("")
    (home / "data" / "more" / "b.csv").write_text("")
    assert names(call, recursive=True, pattern="*.csv") == ["data/a.csv", "data/more/b.csv"]
    assert names(call, recursive=True, pattern="data/*") == ["data/a.csv", "data/more", "data/more/b.csv"]
    assert names(call, directory="data") == ["a.csv", "more"]
    assert names(call, directory="data", pattern="[b-z]*") == ["more"]
    assert names(call, pattern="*.nope") == []


def test_a_long_listing_is_cut(call: WorkerCall, home: Path) -> None:
    for number in range(10):
        (home / f"f{number}").write_text("")
    result = listed(call, pattern="f*", limit=3)
    assert [entry["name"] for entry in result["entries"]] == ["f0", "f1", "f2"]
    assert (result["total_entries"], result["truncated"]) == (10, True)


def test_a_huge_folder_is_not_looked_at_for_ever(call: WorkerCall, home: Path) -> None:
    (home / "huge").mkdir()
    for number in range(file.MAX_SCANNED + 1):
        (home / "huge" / f"{number}").symlink_to("x") if number % 2 else (home / "huge" / f"{number}").touch()
    result = listed(call, directory="huge", limit=1)
    assert not result["total_entries"] > file.MAX_SCANNED
    assert result["truncated"]


def test_a_deep_tree_is_followed_only_so_far(call: WorkerCall, home: Path) -> None:
    (home / "deep").joinpath(*["d"] * (MAX_DEPTH + 10)).mkdir(parents=True)
    found = names(call, directory="deep", recursive=True)
    assert max(name.count("/") for name in found) == MAX_DEPTH


def test_links_are_neither_listed_nor_followed(call: WorkerCall, home: Path) -> None:
    (home / "out").symlink_to("/etc")
    (home / "back").symlink_to(".")
    assert names(call, recursive=True) == ["notes", "notes/todo.txt", "welcome.txt"]
    with pytest.raises(PathNotAllowed):
        listed(call, directory="out")
    with pytest.raises(FileMissing, match="no folder"):
        listed(call, directory="welcome.txt")


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"file_path": ""},
        {"file_path": "x", "offset": -1},
        {"file_path": "x", "limit": 0},
        {"file_path": "x", "limit": 2**30},
        {"file_path": "x", "encoding": "rot13"},
        {"file_path": "x" * 5000},
        {"file_path": "x", "start_line": 0},
        {"file_path": "x", "start_line": 3, "end_line": 2},
        {"file_path": "x", "start_line": 3, "offset": 2},
    ],
)
def test_other_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FileReadArguments(**arguments)
