"""The commands of a page of the guide, and a shell that runs them one after another as a person would."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = "```"
NOT_RUN = "*Not run by the tests: "
STATUS = re.compile(r"# exit status (\d+):")
END = "== end of a command =="
COMMAND_SECONDS = 120


@dataclass(frozen=True)
class Command:
    """A command of the page.

    Attributes:
        text: As it stands there, its comment included.
        line: Where it begins.
        is_run: Whether its block is not marked as one that cannot be run here.
    """

    text: str
    line: int
    is_run: bool

    @property
    def status(self) -> int:
        """The exit status that its comment says, 0 where it says none."""
        said = STATUS.search(self.text)
        return int(said[1]) if said else 0


def read_commands(page: Path) -> list[Command]:
    """Every command in the fenced blocks of a page, in order; a line that ends in a backslash goes on."""
    commands: list[Command] = []
    before, inside, is_run, open_lines = "", False, True, list[str]()
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith(FENCE):
            assert line == FENCE, f"{page.name}:{number}: blocks hold commands and nothing else"
            inside, is_run = not inside, not before.startswith(NOT_RUN)
        elif inside:
            open_lines.append(line)
            if not line.endswith("\\"):
                text = "\n".join(open_lines)
                commands.append(Command(text, number - len(open_lines) + 1, is_run))
                open_lines = []
        before = line or before
    assert not inside
    assert not open_lines
    return commands


class Shell:
    """One bash for all commands: what one sets, the next one sees."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Use `running` instead."""
        self._process = process

    @classmethod
    @contextlib.contextmanager
    def running(cls, folder: Path, environment: dict[str, str]) -> Iterator[Shell]:
        """A shell in this folder, until the block's end."""
        process = subprocess.Popen(
            ["/bin/bash", "--noprofile", "--norc", "-o", "pipefail"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield cls(process)
        finally:
            process.kill()
            process.communicate()

    def run(self, text: str) -> tuple[int, str]:
        """The exit status of a command, and what it printed to either stream."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{{ {text}\n}} </dev/null\nprintf '\\n%s%s\\n' '{END}' $?\n")
        self._process.stdin.flush()
        timer = threading.Timer(COMMAND_SECONDS, os.killpg, (self._process.pid, signal.SIGKILL))
        timer.start()
        printed: list[str] = []
        try:
            for line in self._process.stdout:
                if line.startswith(END):
                    return int(line.removeprefix(END)), "".join(printed).removesuffix("\n")
                printed.append(line)
        finally:
            timer.cancel()
        raise AssertionError(f"{text}\nended the shell, or took too long:\n{''.join(printed)}")

    def variables(self) -> dict[str, str]:
        """What a program that is started now would be told."""
        _, printed = self.run("env --null")
        return dict(entry.split("=", 1) for entry in printed.split("\0") if "=" in entry)
