"""Who says a turn: a flight of a replica."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ulid import ULID

_HOLDER = re.compile(r"([0-9a-f]{16})/([0-9A-HJKMNP-TV-Z]{26})/([0-9])")
MOST_TAKEOVERS = 2
"""Beyond it the turn itself is suspect: what ended three holders is not given to a fourth."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A flight as other replicas know it.

    Attributes:
        replica: Names the replica.
        flight_id: Names the flight, and its request in the engine.
        takeovers: How many holders before it were lost.
    """

    replica: str
    flight_id: str
    takeovers: int = 0

    @property
    def text(self) -> str:
        """The holder as a lease names it."""
        return f"{self.replica}/{self.flight_id}/{self.takeovers}"

    @classmethod
    def read(cls, text: bytes) -> Holder:
        """The holder that a lease names.

        Raises:
            ValueError: It names none.
        """
        found = _HOLDER.fullmatch(text.decode())
        if found is None:
            raise ValueError("this names no holder")
        return cls(found[1], found[2], int(found[3]))

    @classmethod
    def new(cls, replica: str) -> Holder:
        """A flight of this replica that nobody had before."""
        return cls(replica, str(ULID()))

    def after(self, lost: Holder) -> Holder:
        """The same, who goes on after one who was lost."""
        return replace(self, takeovers=lost.takeovers + 1)
