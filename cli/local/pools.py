"""The replicas of each model that a stack serves: which there are now, and where its services read it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cli.failures import CommandError
from cli.home import Home, write_private
from cli.local.model import ModelChoice
from cli.local.resources import CoreShare
from deploy.envoy.endpoints import pool as cluster_of
from services.rpc.addresses import FILE


@dataclass(frozen=True)
class Pool:
    """The replicas of one model, as asked for.

    Attributes:
        model: What they serve.
        cores: The cores of each of them.
    """

    model: ModelChoice
    cores: tuple[CoreShare, ...]


@dataclass(frozen=True)
class Replica:
    """A process that serves a model.

    Attributes:
        name: The process's name, which no other of this stack has or had.
        address: Where it listens.
        model: What it serves.
        cores: Its cores.
    """

    name: str
    address: str
    model: ModelChoice
    cores: CoreShare


@dataclass
class RunningPool:
    """The replicas of one model, as they are.

    Attributes:
        model: What the next replica will serve.
        replicas: Those that get calls.
    """

    model: ModelChoice
    replicas: list[Replica] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name by which requests ask for the model."""
        return self.model.name

    @property
    def addresses(self) -> list[str]:
        """Where its replicas listen."""
        return [replica.address for replica in self.replicas]


class Pools:
    """The pools of a stack, the default first."""

    def __init__(self, home: Home, asked: Sequence[Pool], listen: Callable[[str], str]) -> None:
        """Name the replicas that were asked for.

        Args:
            home: Where their addresses are written.
            asked: How it begins; the models have the names that they are served under.
            listen: Where a process of a name listens.
        """
        self._home = home
        self._listen = listen
        self._numbers = itertools.count(1)
        self._pools = [RunningPool(pool.model) for pool in asked]
        for running, pool in zip(self._pools, asked, strict=True):
            running.replicas += [self.another(pool.model, cores) for cores in pool.cores]

    def __iter__(self) -> Iterator[RunningPool]:
        return iter(self._pools)

    @property
    def replicas(self) -> list[Replica]:
        """Those of all pools."""
        return [replica for pool in self._pools for replica in pool.replicas]

    @property
    def addresses(self) -> dict[str, list[str]]:
        """Where the replicas of each model listen."""
        return {pool.name: pool.addresses for pool in self._pools}

    def another(self, model: ModelChoice, cores: CoreShare) -> Replica:
        """A replica that there was not before."""
        name = f"inference-{next(self._numbers)}"
        return Replica(name, self._listen(name), model, cores)

    def find(self, model: str) -> RunningPool:
        """The pool of a model; the default for an empty name.

        Raises:
            CommandError: There is none.
        """
        names = [pool.name for pool in self._pools]
        if model and model not in names:
            raise CommandError(f"No pool serves {model}.", f"There are: {', '.join(names)}.")
        return self._pools[names.index(model) if model else 0]

    def of(self, name: str) -> tuple[RunningPool, Replica]:
        """A replica by its name, and its pool.

        Raises:
            CommandError: There is none.
        """
        for pool in self._pools:
            for replica in pool.replicas:
                if replica.name == name:
                    return pool, replica
        raise CommandError(f"There is no replica {name}.", "`parley replicas list` shows them.")

    def followed(self, pool: RunningPool) -> str:
        """What services are told of a pool's replicas: a file that they read again when it is replaced."""
        return f"{FILE}{self._file(pool)}"

    def write_addresses(self, pool: RunningPool, addresses: Sequence[str]) -> None:
        """Tell the services which replicas of a pool to call.

        Raises:
            OSError: It cannot be written down.
        """
        write_private(self._file(pool), "".join(f"{address}\n" for address in addresses))

    def _file(self, pool: RunningPool) -> Path:
        folder = self._home.folder("run") / "replicas"
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder / cluster_of(pool.name)
