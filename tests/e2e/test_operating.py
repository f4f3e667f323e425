"""Every command of the operator's guide is run, in its order, on a real stack."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.home import Home
from cli.local.preflight import free_port
from tests.e2e.guide_commands import FENCE, NOT_RUN, Command, Shell, read_commands
from tests.platform import Stack, started

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "operating.md"
TOPICS = ["Install", "Size", "Secure", "Back up", "Restore", "Rotate", "Observe", "Debug", "Upgrade"]
NOT_RUN_BLOCKS = 3
"""Setting up, grpcurl, a later version. Whatever else is written there can be run."""
ADDRESS = "localhost:8443"
METRICS = "127.0.0.1:9101"
START = "parley up"


class Operator:
    """A person who follows the guide in a folder where a stack runs, on ports that are free here."""

    def __init__(self, folder: Path, shell: Shell, ends: contextlib.ExitStack) -> None:
        self._folder = folder
        self._shell = shell
        self._ends = ends
        self._metrics = f"127.0.0.1:{free_port()}"

    def follow(self, command: Command) -> str:
        """Runs a command as it stands there and gives what it printed; one that fails ends the test."""
        if command.text == START:
            return self._start()
        running = self._home.running()
        address = running.edge_address if running else ADDRESS
        status, printed = self._shell.run(
            command.text.replace(ADDRESS, address).replace(METRICS, self._metrics)
        )
        failure = f"{GUIDE.name}:{command.line}: {command.text}\nended with {status}:\n{printed}"
        assert status == command.status, failure
        return printed

    @property
    def _home(self) -> Home:
        return Home(self._folder / ".parley")

    def _start(self) -> str:
        """In a terminal of its own. The stack that all tests share was started so already."""
        if self._home.running() is None:
            platform = Stack(self._home, f"127.0.0.1:{free_port()}", self._folder / "up.log")
            self._ends.enter_context(started(platform, **self._shell.variables()))
        return ""


@pytest.fixture
def operator(stack: Stack, tmp_path: Path) -> Iterator[Operator]:
    """In a checkout whose stack is the shared one, until the guide moves it aside and starts a copy."""
    (tmp_path / ".parley").symlink_to(stack.home.path)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # Unmeasured, its dozens of commands start in a third of the time; tests of their own measure them.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    with contextlib.ExitStack() as ends:
        shell = ends.enter_context(Shell.running(tmp_path, {**variables, "PATH": path}))
        yield Operator(tmp_path, shell, ends)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_command_does_what_the_guide_says(operator: Operator, stack: Stack) -> None:
    printed = {
        command.text.split("\n")[0]: operator.follow(command)
        for command in read_commands(GUIDE)
        if command.is_run
    }
    assert "391" in printed['parley chat "What is 17 * 23?"']
    assert stack.home.running() is not None  # the copy was ended, and not what was copied


def test_a_command_that_ends_otherwise_is_told_with_what_it_printed(tmp_path: Path) -> None:
    with contextlib.ExitStack() as ends, Shell.running(tmp_path, dict(os.environ)) as shell:
        operator = Operator(tmp_path, shell, ends)
        operator.follow(Command("name=$(echo ada)", 1, is_run=True))
        assert operator.follow(Command("echo $name; false   # exit status 1: so", 2, is_run=True)) == "ada\n"
        with pytest.raises(AssertionError, match=r"operating.md:3: .*\s+ended with 7:\s+why"):
            operator.follow(Command("echo why; (exit 7)", 3, is_run=True))
        with pytest.raises(AssertionError, match="ended the shell"):
            operator.follow(Command("exit 0", 4, is_run=True))


def test_blocks_that_are_not_run_are_few_and_say_why() -> None:
    lines = GUIDE.read_text().splitlines()
    assert sum(line.startswith(NOT_RUN) for line in lines) == NOT_RUN_BLOCKS
    assert len([command for command in read_commands(GUIDE) if not command.is_run]) <= 2 * NOT_RUN_BLOCKS


def test_every_topic_has_commands_and_what_the_text_names_is_among_them() -> None:
    text = GUIDE.read_text()
    commands = [command.text for command in read_commands(GUIDE) if command.is_run]
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert [section.partition("\n")[0] for section in sections] == TOPICS
    assert all(FENCE in section for section in sections)
    named = re.findall(r"`(parley [^`\n]+)`", "".join(text.split(FENCE)[::2]))
    assert [name for name in named if not any(command.startswith(name) for command in commands)] == []
