"""What must be true of this machine before a stack starts; each fault is one clear line."""

from __future__ import annotations

import errno
import shutil
import socket
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from cli.failures import CommandError, ExitCode
from cli.local.model import ModelChoice

GIB = 2**30
SERVICES_BYTES = GIB
"""All processes but the replicas: 0.6 GiB resident, and air."""
REPLICA_BYTES = int(1.4 * GIB)
"""A replica before weights and KV cache: two processes with torch and vLLM."""
WEIGHT_FACTOR = 1.2
"""What loading takes beyond the weights' own size."""
SMALLER_STACK = (
    "Choose a smaller model, fewer --model and --replicas, or less PARLEY_INFERENCE_KV_CACHE_BYTES."
)
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
CGROUP_USED = Path("/sys/fs/cgroup/memory.current")


def check_port(host: str, port: int) -> None:
    """Finds out whether the edge can listen.

    Raises:
        CommandError: It cannot.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = "another program listens there" if taken else (error.strerror or str(error))
            remedy = "End it, or choose another port with PARLEY_EDGE_LISTEN_ADDRESS=127.0.0.1:PORT."
            raise CommandError(f"Cannot listen on {host}:{port}: {why}.", remedy, ExitCode.MACHINE) from None


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def available_bytes() -> int:
    """Memory that new processes can have, by the machine's and the container's account."""
    available = int(psutil.virtual_memory().available)
    try:
        left = int(CGROUP_LIMIT.read_text()) - int(CGROUP_USED.read_text())
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return available
    return min(available, left)


def needed_bytes(served: Iterable[ModelChoice], kv_bytes: int) -> int:
    """Memory that a stack on CPU takes, with a replica for each of these models."""
    return SERVICES_BYTES + sum(replica_bytes(model, kv_bytes) for model in served)


def replica_bytes(model: ModelChoice, kv_bytes: int) -> int:
    """Memory that a replica on CPU takes."""
    return REPLICA_BYTES + int(model.weight_bytes * WEIGHT_FACTOR) + kv_bytes


def check_memory(needed: int, available: int, remedy: str = SMALLER_STACK) -> None:
    """Finds out whether what is to start fits.

    Raises:
        CommandError: It does not.
    """
    if needed > available:
        raise CommandError(
            f"Too little memory: {needed / GIB:.1f} GiB needed, {available / GIB:.1f} GiB available.",
            remedy,
            ExitCode.MACHINE,
        )


def check_files(environment: Mapping[str, str]) -> None:
    """Finds out whether the certificates and keys that a process is pointed at are there.

    Raises:
        CommandError: One is missing.
    """
    for name, value in environment.items():
        is_file = name.endswith(("_CERTIFICATE_PATH", "_PRIVATE_KEY_PATH", "_AUTHORITY_PATH"))
        if name.startswith("PARLEY_") and is_file and not Path(value).is_file():
            remedy = "Correct or unset the variable; `parley certs init` makes the local certificates."
            raise CommandError(f"{name}: there is no file {value}.", remedy, ExitCode.MACHINE)


def program(name: str) -> str:
    """A program of this environment: beside the interpreter, or else on the path.

    Raises:
        CommandError: It is not there.
    """
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise CommandError(f"The program {name} is not installed.", "Run `make setup`.", ExitCode.MACHINE)
    return found
