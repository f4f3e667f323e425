"""Applies a unified diff to a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unidiff.errors import UnidiffParseError
from unidiff.patch import Hunk, PatchedFile, PatchSet

from services.tools.errors import PatchRejected

# A hunk whose line numbers are a little wrong still fits where its lines stand alone, as with patch(1).
MAX_DRIFT_LINES = 1000


@dataclass(frozen=True)
class Patched:
    """What a patch made of a text.

    Attributes:
        text: The text after it.
        hunks: Hunks that were applied.
        added: Lines that were added.
        removed: Lines that were taken away.
    """

    text: str
    hunks: int
    added: int
    removed: int


def apply_patch(text: str, patch: str, path: str) -> Patched:
    """The text with the patch applied.

    Args:
        text: The text before.
        patch: A unified diff of one file; the `---` and `+++` lines may be missing.
        path: The file, for errors.

    Raises:
        PatchRejected: It is no unified diff of one file, or does not fit.
    """
    diff = _parse(patch, path)
    lines = text.splitlines(keepends=True)
    made: list[str] = []
    done = 0
    for hunk in diff:
        before, after = _sides(hunk)
        at = _find(lines, before, hunk.source_start, done, path)
        made += lines[done:at] + _like(lines, after)
        done = at + len(before)
    made += lines[done:]
    return Patched("".join(made), len(diff), diff.added, diff.removed)


def _parse(patch: str, path: str) -> PatchedFile:
    if not patch.lstrip().startswith(("---", "diff ", "Index:")):
        patch = f"--- a\n+++ b\n{patch}"
    if not patch.endswith("\n"):
        patch += "\n"
    try:
        files = PatchSet(patch)
    except (UnidiffParseError, ValueError) as error:
        raise PatchRejected(path, f"it is no unified diff ({error})") from None
    if len(files) != 1 or not files[0]:
        raise PatchRejected(path, f"it holds hunks for {len(files)} files, where one is asked for")
    return files[0]


def _sides(hunk: Hunk) -> tuple[list[str], list[str]]:
    """The lines that a hunk expects, and those that it leaves."""
    before: list[str] = []
    after: list[str] = []
    last: list[str] = []
    for line in hunk:
        if line.line_type == "\\" and last is after:  # "No newline at end of file" is said of the line above.
            after[-1] = after[-1].rstrip("\r\n")
        if line.is_context or line.is_removed:
            before.append(line.value)
            last = before
        if line.is_context or line.is_added:
            after.append(line.value)
            last = after
    return before, after


def _find(lines: Sequence[str], before: Sequence[str], start: int, done: int, path: str) -> int:
    """The index at which the hunk fits: the nearest to where it says.

    Raises:
        PatchRejected: It fits nowhere near.
    """
    said = max(start - 1 if before else start, done)
    wanted = [line.rstrip("\r\n") for line in before]
    for drift in range(min(MAX_DRIFT_LINES, len(lines)) + 1):
        for at in (said - drift, said + drift):
            there = lines[at : at + len(wanted)] if at >= done else None
            if there is not None and [line.rstrip("\r\n") for line in there] == wanted and at <= len(lines):
                return at
    raise PatchRejected(path, f"the lines that it expects from line {start} on are not there", start)


def _like(lines: Sequence[str], added: Sequence[str]) -> list[str]:
    """The lines with the line ends of the file."""
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    return [line[:-1].removesuffix("\r") + end if line.endswith("\n") else line for line in added]
