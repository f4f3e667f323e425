"""PARLEY_HOME: everything that a stack of this machine keeps, readable by its owner alone."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import BaseModel, ValidationError

DEFAULT = Path(".parley")
STATE_BYTES = 1 << 20


class AlreadyHeld(Exception):
    """Another `parley up` runs in this home."""


class ProcessState(BaseModel):
    """A supervised process, as the supervisor last saw it."""

    pid: int = 0
    started: float = 0
    """Unix time of its start by the kernel's account; with the pid it names one process for good."""
    phase: str = "waiting"
    restarts: int = 0
    address: str = ""

    def is_alive(self) -> bool:
        """Whether that very process still runs."""
        return _start_of(self.pid) == self.started != 0


class StackState(BaseModel):
    """A stack that runs, or ran."""

    supervisor: ProcessState
    edge_address: str
    processes: dict[str, ProcessState] = {}


@dataclass(frozen=True)
class Home:
    """Names every place under PARLEY_HOME.

    certificates/  the local authority and the identities it issued
    auth/          the auth service's database, signing keys and first password
    store/         the store's configuration and data
    workspaces/    the tools' files, per tenant and user
    logs/          one file per process, with older ones beside it
    run/           the stack's state, lock and socket, its replicas' addresses, the edge's configuration
    logins/        saved logins, one per deployment
    """

    path: Path

    def folder(self, name: str) -> Path:
        """A folder of the home, made with mode 0700 if it is not there."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = self.path / name
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder

    @property
    def authority_path(self) -> Path:
        """The certificate that clients of the local edge trust."""
        return self.path / "certificates" / "authority" / "certificate.pem"

    @property
    def password_path(self) -> Path:
        """The local stack's first administrator password."""
        return self.path / "auth" / "admin-password"

    @property
    def state_path(self) -> Path:
        """Where the supervisor tells what runs."""
        return self.path / "run" / "state.json"

    @property
    def control_path(self) -> Path:
        """The socket at which the supervisor is told to change what runs."""
        return self.path / "run" / "control.sock"

    def read_state(self) -> StackState | None:
        """The state of the stack, or None where none was ever started here."""
        try:
            with self.state_path.open("rb") as file:
                return StackState.model_validate_json(file.read(STATE_BYTES))
        except (FileNotFoundError, ValidationError):
            return None

    def write_state(self, state: StackState) -> None:
        """Replaces the state in one step."""
        self.folder("run")
        write_private(self.state_path, state.model_dump_json(indent=2))

    def running(self) -> StackState | None:
        """The state of the stack if its supervisor lives."""
        state = self.read_state()
        return state if state is not None and state.supervisor.is_alive() else None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Makes this the only supervisor of the home. The kernel lets go when the process ends.

        Raises:
            AlreadyHeld: Another one runs.
        """
        with (self.folder("run") / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyHeld from None
            yield


def this_process() -> ProcessState:
    """This process, as a state names it."""
    return ProcessState(pid=os.getpid(), started=_start_of(os.getpid()), phase="ready")


def process_state(pid: int, *, phase: str, restarts: int, address: str) -> ProcessState:
    """A process that runs now, as a state names it."""
    return ProcessState(pid=pid, started=_start_of(pid), phase=phase, restarts=restarts, address=address)


def write_private(path: Path, text: str) -> None:
    """Replaces a file in one step by one that only its owner can read."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def _start_of(pid: int) -> float:
    """When a process began (Unix seconds); 0 where it is gone."""
    try:
        process = psutil.Process(pid)
        return 0 if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except (psutil.NoSuchProcess, ValueError):
        return 0
