"""How the machine's cores and memory are shared out among inference replicas."""

from __future__ import annotations

import importlib.metadata
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

GIB = 2**30
KV_BYTES = GIB
"""KV cache of a replica: at 1 KiB a token of the demo model, a million tokens;
at 128 KiB of an 8 B model, two conversations of 4,096. Set
PARLEY_INFERENCE_KV_CACHE_BYTES for more."""


@dataclass(frozen=True)
class CoreShare:
    """The cores of one replica; none where a GPU does the work."""

    cores: tuple[int, ...]

    def environment(self) -> dict[str, str]:
        """What tells the engine to stay on them."""
        if not self.cores:
            return {}
        return {
            "OMP_NUM_THREADS": str(len(self.cores)),
            "VLLM_CPU_OMP_THREADS_BIND": ",".join(str(core) for core in self.cores),
        }


def share_cores(replicas: int, cores: Sequence[int] | None = None) -> tuple[CoreShare, ...]:
    """Shares the cores that this process may use among the replicas.

    Where every replica has two or more, one core is left to everything else:
    the engine's threads spin while they wait, and would starve the services.
    """
    cores = sorted(os.sched_getaffinity(0)) if cores is None else list(cores)
    usable = cores[1:] if len(cores) >= 2 * replicas else cores
    size = max(1, len(usable) // replicas)
    starts = (number * size % len(usable) for number in range(replicas))
    return tuple(CoreShare(tuple(usable[start : start + size])) for start in starts)


def further_share(taken: Sequence[CoreShare], cores: Sequence[int] | None = None) -> CoreShare:
    """The cores of one more replica: as many as each would have if all were shared anew, the least used ones.

    Those that run keep theirs, so a replica that came first may share its own.
    """
    cores = sorted(os.sched_getaffinity(0)) if cores is None else list(cores)
    size = len(share_cores(len(taken) + 1, cores)[0].cores)
    uses = Counter(core for share in taken for core in share.cores)
    # Of equals the last, as the first is left to everything else where it can be.
    chosen = sorted(cores, key=lambda core: (uses[core], -core))[:size]
    return CoreShare(tuple(sorted(chosen)))


def runs_on_cpu() -> bool:
    """Whether the engine that is installed is the CPU build."""
    try:
        importlib.metadata.version("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
