"""The two ways to shut a program in, and the interpreter that runs it."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.tools.sandbox import policy

STAGE = Path(__file__).with_name("stage.py")
INTERPRETER_FLAGS = ("-I", "-S", "-B", "-X", "utf8")
_CLEAN_SECONDS = 60
_LIBRARY_CACHE = "/etc/ld.so.cache"


@dataclass(frozen=True)
class Interpreter:
    """A Python that programs are run by, with nothing but its standard library.

    Attributes:
        executable: The program, not a link to it.
        readable: The folders and files that it needs.
    """

    executable: str
    readable: tuple[str, ...]

    @classmethod
    def at(cls, executable: Path) -> Interpreter:
        """The one at this path; its libraries are where `lib` lies beside its `bin`."""
        real = executable.resolve()
        library = real.parents[1] / "lib"
        wanted = (*policy.LIBRARIES, _LIBRARY_CACHE, str(library), str(real))
        return cls(str(real), tuple(dict.fromkeys(path for path in wanted if os.path.lexists(path))))

    @classmethod
    def own(cls) -> Interpreter:
        """The one that runs this service, outside its virtual environment."""
        return cls.at(Path(getattr(sys, "_base_executable", sys.executable)))


@dataclass(frozen=True)
class Place:
    """Where one program runs.

    Attributes:
        command: Starts the stage, but for the descriptor that it talks on.
        workspace: The folder for its files, as it sees it.
        scratch: The folder for temporary files, as it sees it.
        watched: Those folders as the service sees them, where they have no size of their own.
    """

    command: tuple[str, ...]
    workspace: str
    scratch: str
    watched: tuple[Path, ...] = ()


class Confinement(Protocol):
    """A way to shut a program in."""

    name: str
    namespaces: bool
    """Whether the program is alone in namespaces of its own."""
    become: int
    """The user that the stage becomes; 0 where it stays who it is."""
    interpreter: Interpreter

    def place(self) -> AbstractAsyncContextManager[Place]:
        """Make a place for one program, and clear it away afterwards."""


class Bubblewrap:
    """Namespaces of its own: the program sees nothing of the machine but what is bound into them."""

    name = "bubblewrap"
    namespaces = True

    def __init__(self, executable: str, interpreter: Interpreter, user: int | None = None) -> None:
        """Shut programs in by the `bwrap` at this path, as this user; default: the service's."""
        self.interpreter = interpreter
        # As root the kernel does not count threads; and root's user namespace would be root's.
        self.become = policy.NOBODY if (os.geteuid() if user is None else user) == 0 else 0
        command = (executable, *self._arguments(), *_stage(interpreter, policy.STAGE))
        self._place = Place(command, policy.WORKSPACE, policy.SCRATCH)

    def place(self) -> AbstractAsyncContextManager[Place]:
        """The same for all: what it holds lies in memory and goes with its last process."""
        return nullcontext(self._place)

    def _arguments(self) -> list[str]:
        arguments = [
            "--unshare-pid",
            "--unshare-net",
            "--unshare-ipc",
            "--unshare-uts",
            "--unshare-cgroup-try",
        ]
        # As process 1: a second one of bubblewrap's in there would outlive the first, with nobody to reap it.
        arguments += [
            "--as-pid-1",
            "--die-with-parent",
            "--new-session",
            "--clearenv",
            "--hostname",
            "sandbox",
        ]
        # The stage bounds the folders in memory, takes another user's place, and drops all of them.
        capabilities = ["CAP_SYS_ADMIN", "CAP_SETPCAP"]
        if self.become:
            capabilities += ["CAP_SETUID", "CAP_SETGID"]
        else:
            arguments.append("--unshare-user")
        arguments += ["--cap-drop", "ALL"]
        for capability in capabilities:
            arguments += ["--cap-add", capability]
        arguments += ["--ro-bind", str(STAGE), policy.STAGE]
        for path in self.interpreter.readable:
            arguments += [*_above(path), *_bound(path)]
        for device in policy.DEVICES:
            arguments += [*_above(device), "--dev-bind", device, device]
        for folder in (policy.WORKSPACE, policy.SCRATCH):
            arguments += ["--perms", "0777", "--tmpfs", folder]
        return [*arguments, "--remount-ro", "/", "--chdir", "/"]


class Landlock:
    """For containers that allow no namespaces: the kernel refuses all other paths; the rest is seccomp's."""

    name = "Landlock"
    namespaces = False
    become = 0

    def __init__(self, root: Path, interpreter: Interpreter) -> None:
        """Shut programs in by Landlock, with their files in folders below `root`."""
        self.interpreter = interpreter
        self._root = root

    def place(self) -> AbstractAsyncContextManager[Place]:
        """A fresh folder, removed afterwards."""
        return self._fresh()

    @asynccontextmanager
    async def _fresh(self) -> AsyncIterator[Place]:
        # Not in a thread: a thread that is cancelled would make a folder that nobody knows of.
        home = Path(tempfile.mkdtemp(prefix=".run-", dir=self._root))
        workspace, scratch = home / "workspace", home / "scratch"
        try:
            workspace.mkdir()
            scratch.mkdir()
            yield Place(
                _stage(self.interpreter, str(STAGE)), str(workspace), str(scratch), (workspace, scratch)
            )
        finally:
            await asyncio.shield(asyncio.create_task(asyncio.to_thread(_remove, home)))


def _stage(interpreter: Interpreter, script: str) -> tuple[str, ...]:
    return (interpreter.executable, *INTERPRETER_FLAGS, script)


def _above(path: str) -> list[str]:
    """Make the folders above it: bubblewrap's own may be such that only root passes."""
    folders = reversed(Path(path).parents[:-1])
    return [word for folder in folders for word in ("--perms", "0755", "--dir", str(folder))]


def _bound(path: str) -> Sequence[str]:
    """Bind a path read-only; a link as a link."""
    if stat.S_ISLNK(os.lstat(path).st_mode):
        return ("--symlink", os.readlink(path), path)  # noqa: PTH115
    return ("--ro-bind", path, path)


def _remove(folder: Path) -> None:
    """Remove a folder that a program filled: `rm` goes as deep as it takes, and follows nothing."""
    subprocess.run([_RM, "-rf", "--", str(folder)], timeout=_CLEAN_SECONDS, check=False)


_RM = shutil.which("rm") or "/bin/rm"
