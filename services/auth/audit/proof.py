"""Proves a chain: finds what was changed, removed, moved, cut off or written anew, and says where.

It needs only records and checkpoints, so it works on a live database and on a
copy of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from services.auth.audit.body import Body, genesis, link
from services.auth.audit.checkpoints import Checkpoint, CheckpointKind


class Record(Protocol):
    """A record as it is stored."""

    sequence: Any
    body: Any
    previous_hash: Any
    hash: Any


class FaultKind(StrEnum):
    """What is wrong; named as in the contract."""

    CHANGED = "CHANGED"
    REMOVED = "REMOVED"
    REORDERED = "REORDERED"
    CUT = "CUT"
    REWRITTEN = "REWRITTEN"
    UNANCHORED = "UNANCHORED"
    CHECKPOINT = "CHECKPOINT"


@dataclass(frozen=True)
class Fault:
    """Something wrong with a chain.

    Attributes:
        kind: What.
        first: Where it begins.
        last: Where it ends.
    """

    kind: FaultKind
    first: int
    last: int

    @property
    def message(self) -> str:
        """The same for people."""
        where = f"record {self.first}" if self.first == self.last else f"records {self.first} to {self.last}"
        return f"{where}: {MESSAGES[self.kind]}"


MESSAGES: Mapping[FaultKind, str] = {
    FaultKind.CHANGED: "not what was written",
    FaultKind.REMOVED: "gone",
    FaultKind.REORDERED: "in another record's place",
    FaultKind.CUT: "cut off the end, though a signed checkpoint knows of them",
    FaultKind.REWRITTEN: "not the one that a signed checkpoint vouches for",
    FaultKind.UNANCHORED: "nothing signed vouches for the end of what came before",
    FaultKind.CHECKPOINT: "a checkpoint that is not signed with the key, or is of another chain",
}


@dataclass
class Proof:
    """Looks at the records of a chain one after another.

    Feed it every checkpoint first and every record after, oldest first; `finish`
    then finds what is missing at the end.

    Attributes:
        chain_id: Which chain it is.
        records: Records looked at.
        first: The oldest.
        last: The newest.
        hash: The newest one's hash.
        agreeing: Checkpoints that agree with a record.
        vouched: The newest record that a checkpoint vouches for.
    """

    chain_id: str
    records: int = 0
    first: int = 0
    last: int = 0
    hash: bytes = b""
    agreeing: int = 0
    vouched: int = 0
    _hashes: dict[int, set[bytes]] = field(default_factory=dict)
    _anchors: set[tuple[int, bytes]] = field(default_factory=set)
    _newest: int = 0
    _told: Fault | None = None

    def take_checkpoints(self, checkpoints: Iterable[Checkpoint | None]) -> Iterator[Fault]:
        """Learn what signed checkpoints say."""
        for number, checkpoint in enumerate(checkpoints, 1):
            if checkpoint is None or checkpoint.position.chain_id != self.chain_id:
                yield Fault(FaultKind.CHECKPOINT, number, number)
                continue
            place = checkpoint.position
            self._hashes.setdefault(place.sequence, set()).add(place.hash)
            self._newest = max(self._newest, place.sequence)
            if checkpoint.kind is CheckpointKind.RETENTION:
                self._anchors.add((place.sequence, place.hash))

    def take(self, records: Sequence[Record]) -> Iterator[Fault]:
        """Look at the next records."""
        for fault in self._faults(records):
            if fault != self._told:  # what is wrong with a record may show in it and after it
                yield fault
            self._told = fault

    def _faults(self, records: Sequence[Record]) -> Iterator[Fault]:
        for record in records:
            if not self.records:
                self.first = record.sequence
                yield from self._begin(record)
            elif record.sequence != self.last + 1:
                yield Fault(FaultKind.REMOVED, self.last + 1, record.sequence - 1)
            elif record.previous_hash != self.hash:
                # Its hash was made to fit again, which the next one does not know.
                yield Fault(FaultKind.CHANGED, self.last, self.last)
            yield from self._inspect(record)
            yield from self._compare(record)
            self.records, self.last, self.hash = self.records + 1, record.sequence, record.hash

    def finish(self, head: tuple[int, bytes] | None = None) -> Iterator[Fault]:
        """Look at the end.

        Args:
            head: Sequence and hash that the database itself remembers as the last, if it is known.
        """
        end = max(self._newest, head[0] if head else 0)
        if end > self.last:
            yield Fault(FaultKind.CUT, self.last + 1, end)
        elif head is not None and self.records and head != (self.last, self.hash):
            yield Fault(FaultKind.CHANGED, self.last, self.last)

    def _begin(self, record: Record) -> Iterator[Fault]:
        """The oldest record follows the chain's beginning, or what retention has signed away."""
        before = (record.sequence - 1, record.previous_hash)
        if before == (0, genesis(self.chain_id)) or before in self._anchors:
            return
        if record.sequence == 1:
            yield Fault(FaultKind.CHANGED, 1, 1)
        else:
            yield Fault(FaultKind.UNANCHORED, record.sequence, record.sequence)

    def _inspect(self, record: Record) -> Iterator[Fault]:
        """A record by itself."""
        try:
            body = Body.parse(record.body)
        except ValueError:
            yield Fault(FaultKind.CHANGED, record.sequence, record.sequence)
            return
        if body.sequence != record.sequence:
            yield Fault(FaultKind.REORDERED, record.sequence, record.sequence)
        elif link(record.previous_hash, record.body) != record.hash or not _findable(record, body):
            yield Fault(FaultKind.CHANGED, record.sequence, record.sequence)

    def _compare(self, record: Record) -> Iterator[Fault]:
        """A record with the checkpoints of its place."""
        stated = self._hashes.get(record.sequence)
        if stated is None:
            return
        if stated == {record.hash}:
            self.agreeing += 1
            self.vouched = max(self.vouched, record.sequence)
        else:
            yield Fault(FaultKind.REWRITTEN, record.sequence, record.sequence)


def _findable(record: Record, body: Body) -> bool:
    """Whether the columns that the record is found by say what its body says; an export has none."""
    columns = body.columns()
    return all(getattr(record, name, value) == value for name, value in columns.items())
