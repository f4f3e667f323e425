"""Questions about the workspace: the text of a file, the entries of a folder."""

import json

from parley_demo.dialogue import Call, Request, compact, thought_of
from parley_demo.invented import Stock


def _content(stock: Stock) -> str:
    rng = stock.rng
    if rng.random() < 0.03:
        return ""
    lines = [stock.line() for _ in range(rng.choice((1, 1, 1, 2, 2, 3)))]
    if rng.random() < 0.15:
        lines += [stock.sentence(12) for _ in range(rng.choice((2, 3, 4, 6)))]
    return "\n".join(lines) + ("" if rng.random() < 0.2 else "\n")


def read_answer(path: str, result: str) -> str:
    """What the model says of a file: all of it below 100 bytes, else its first line and its size."""
    read = json.loads(result)
    text, size = read["content"].rstrip("\n"), read["total_bytes"]
    if not size:
        return f"{path} is empty."
    if size < 100:
        return f"{path} says:\n{text}"
    first = text.partition("\n")[0]
    return f"{path} has {size} bytes and begins:\n{first}"


def reading(kind: str, wording: str, stock: Stock, path: str, gaps: dict[str, str]) -> Request:
    """A request for the text of the file at `path`."""
    content = _content(stock)
    size = len(content.encode())
    truncated = stock.chance(0.02)
    result = compact(
        {
            "file_path": path,
            "content": content,
            "encoding": "utf-8",
            "total_bytes": size,
            "truncated": truncated,
        }
    )
    call = Call("file_read", {"file_path": path}, result)
    return Request(kind, wording, gaps, read_answer(path, result), (call,), thought_of((call,)))


def read(stock: Stock, wording: str) -> Request:
    """The text of one file."""
    path = stock.path()
    return reading("file_read", wording, stock, path, {"path": path})


def _entry(stock: Stock, extension: str | None) -> dict[str, object]:
    if extension is None and stock.chance(0.25):
        return {"name": stock.stem(), "type": "directory", "size_bytes": 0}
    name = f"{stock.stem()}.{extension}" if extension else stock.file_name()
    return {"name": name, "type": "file", "size_bytes": stock.rng.randrange(10 ** stock.rng.randint(1, 6))}


def list_answer(directory: str, result: str, pattern: str | None = None) -> str:
    """What the model says of a folder: how many entries, and their names (a folder's with a slash)."""
    listed = json.loads(result)
    place = "The workspace" if directory == "." else directory
    names = [entry["name"] + ("/" if entry["type"] == "directory" else "") for entry in listed["entries"]]
    if not names:
        return f"{place} has nothing that matches {pattern}." if pattern else f"{place} is empty."
    noun = "entry" if len(names) == 1 else "entries"
    return f"{place} has {listed['total_entries']} {noun}: {', '.join(names)}."


def listing(kind: str, wording: str, stock: Stock, directory: str, extension: str | None) -> Request:
    """A request for the entries of a folder, all or those with an extension."""
    count = stock.rng.choice((0, 1, 1, 1, 2, 2, 2, 3, 3, 4))
    entries = [_entry(stock, extension) for _ in range(count)]
    arguments = {"directory": directory}
    pattern = f"*.{extension}" if extension else None
    if pattern:
        arguments["pattern"] = pattern
    result = compact({"directory": directory, "total_entries": count, "entries": entries, "truncated": False})
    call = Call("file_list", arguments, result)
    gaps = {"dir": directory, "ext": extension or ""}
    return Request(kind, wording, gaps, list_answer(directory, result, pattern), (call,), thought_of((call,)))


def list_folder(stock: Stock, wording: str) -> Request:
    """The entries of a named folder, or of those that the wording's `ext` gap asks for."""
    extension = stock.extension() if "{ext}" in wording else None
    return listing("file_list", wording, stock, stock.directory(), extension)


def list_workspace(stock: Stock, wording: str) -> Request:
    """The entries at the top of the workspace."""
    extension = stock.extension() if "{ext}" in wording else None
    return listing("file_list", wording, stock, ".", extension)


def follow_up_read(stock: Stock, before: Request, wording: str) -> Request | None:
    """Another file, after a file."""
    if not before.calls or before.calls[0].name != "file_read":
        return None
    path = stock.path()
    return reading("second turn", wording, stock, path, {"path": path})


def follow_up_list(stock: Stock, before: Request, wording: str) -> Request | None:
    """Another folder, after a folder."""
    if not before.calls or before.calls[0].name != "file_list":
        return None
    return listing("second turn", wording, stock, stock.directory(), None)


def open_first(stock: Stock, before: Request, wording: str) -> Request | None:
    """The first file of the folder just listed; None where there is none."""
    if not before.calls or before.calls[0].name != "file_list":
        return None
    entries = json.loads(before.calls[0].result)["entries"]
    if not entries or entries[0]["type"] == "directory":
        return None
    directory = before.calls[0].arguments["directory"]
    path = entries[0]["name"] if directory == "." else f"{directory}/{entries[0]['name']}"
    return reading("second turn", wording, stock, path, {})
