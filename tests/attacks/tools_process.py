"""The tools service as it ships, but for the names that it can resolve, as a process."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence

from services.rpc.server import run
from services.rpc.settings import load
from services.rpc.telemetry import configure_logging
from services.tools.__main__ import serve
from services.tools.settings import ToolsSettings

OPENED, METADATA, PRIVATE = "127.0.0.1", "169.254.169.254", "10.0.0.1"
NAMES: Mapping[str, Sequence[Sequence[str]]] = {
    "site.example": [[OPENED]],
    "inward.example": [[PRIVATE]],
    "mixed.example": [[OPENED, METADATA]],
    "rebinding.example": [[OPENED], [METADATA]],
}
"""What a name's owner answers, by turns."""


class Owners:
    """A resolver of names whose owners mean harm."""

    def __init__(self) -> None:
        self._turns: dict[str, Iterator[Sequence[str]]] = {
            name: itertools.cycle(answers) for name, answers in NAMES.items()
        }

    async def __call__(self, host: str) -> Sequence[str]:
        """The addresses of this turn.

        Raises:
            OSError: Nobody owns the name.
        """
        if host not in self._turns:
            raise OSError
        return next(self._turns[host])


if __name__ == "__main__":
    settings = load(ToolsSettings)
    os.umask(0o077)
    configure_logging("tools", settings.log_level)
    run(lambda: serve(settings, Owners()))
