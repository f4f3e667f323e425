"""What a process imports, found in the sources without running them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = (ROOT, ROOT / "gen")
GENERATED = ("parley.", "buf.")
"""Stubs need protobuf and gRPC, and are too many to read."""


def foreign_imports(module: str) -> set[str]:
    """The top-level names of other people's packages that this module's process may import."""
    seen: set[str] = set()
    foreign: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for imported in _imports(name):
            if imported.startswith(GENERATED):
                foreign |= {"google", "grpc"}
            elif _file(imported) is not None:
                waiting.append(imported)
            elif _is_foreign(imported):
                foreign.add(imported.partition(".")[0])
    return foreign


def _is_foreign(name: str) -> bool:
    top = name.partition(".")[0]
    return top not in sys.stdlib_module_names and not any((folder / top).is_dir() for folder in SOURCES)


@cache
def _imports(module: str) -> tuple[str, ...]:
    """What a module of ours imports; a name of a package counts as a module, as it may be one."""
    file = _file(module)
    assert file is not None, module
    return tuple(_names(ast.parse(file.read_text(encoding="utf-8"))))


def _names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def _file(module: str) -> Path | None:
    """The source of a module of ours; None for what is not ours."""
    relative = Path(*module.split("."))
    candidates = (
        folder / path
        for folder in SOURCES
        for path in (relative / "__init__.py", relative.with_suffix(".py"))
    )
    return next((path for path in candidates if path.is_file()), None)
