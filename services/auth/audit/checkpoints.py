"""Signed checkpoints: what the chain was, told outside the database.

A file with a line for each, a compact JWS (RFC 7515) that names a record and its
hash. Who can write to the database alone can neither cut the chain below a
checkpoint nor write it anew.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from services.auth.audit.chain import Position
from services.auth.errors import StartError
from services.auth.private_files import read_or_make, replace
from services.rpc.principal import ALGORITHM

CURVE = "P-256"
TYPE = "parley-audit-checkpoint"
MAX_LINE_BYTES = 4096
PUBLIC_SUFFIX = ".public"


class CheckpointKind(StrEnum):
    """What a checkpoint vouches for."""

    RECORD = "record"
    """The record is the chain's at this place."""

    RETENTION = "retention"
    """The same, and what comes before may be gone: its time was over."""


@dataclass(frozen=True)
class Checkpoint:
    """A statement about the chain.

    Attributes:
        position: The record.
        kind: What is stated.
        time: When.
    """

    position: Position
    kind: CheckpointKind
    time: datetime

    def payload(self) -> bytes:
        """What is signed."""
        return json.dumps(
            {
                "chain": self.position.chain_id,
                "sequence": self.position.sequence,
                "hash": self.position.hash.hex(),
                "kind": self.kind.value,
                "time": self.time.isoformat(),
            }
        ).encode()

    @classmethod
    def parse(cls, payload: bytes) -> Checkpoint:
        """Read what was signed.

        Raises:
            ValueError: It is no checkpoint.
        """
        try:
            told = json.loads(payload)
            position = Position(str(told["chain"]), int(told["sequence"]), bytes.fromhex(told["hash"]))
            return cls(position, CheckpointKind(told["kind"]), datetime.fromisoformat(told["time"]))
        except (KeyError, TypeError) as error:
            raise ValueError("not a checkpoint") from error


class CheckpointSigner:
    """The checkpoints' own key. Its public half lies beside it, to verify elsewhere."""

    def __init__(self, path: Path) -> None:
        """Load the key, or make one.

        Raises:
            StartError: The file cannot be used.
        """
        try:
            self._key = ECKey.import_key(json.loads(read_or_make(path, _new_key)))
            public = self._key.as_dict(private=False)
            replace(path.with_name(path.name + PUBLIC_SUFFIX), json.dumps(public).encode())
        except (ValueError, JoseError) as error:
            raise StartError(f"the audit's key {path} cannot be read: {type(error).__name__}") from error
        except OSError as error:
            raise StartError(f"the audit's key {path} cannot be written: {error.strerror}") from error

    def sign(self, checkpoint: Checkpoint) -> str:
        """A line for the file."""
        header = {"alg": ALGORITHM, "typ": TYPE, "kid": self._key.thumbprint()}
        return jws.serialize_compact(header, checkpoint.payload(), self._key)

    @property
    def public(self) -> ECKey:
        """What its lines are verified with."""
        return ECKey.import_key(dict(self._key.as_dict(private=False)))


class CheckpointFile:
    """The file. Replicas on one machine, or on a shared file system with locks, share it."""

    def __init__(self, path: Path, key: ECKey) -> None:
        """Keep checkpoints here; take only lines signed with this key."""
        self._path = path
        self._key = key

    def add(self, line: str) -> None:
        """Append a signed checkpoint; it is on the disk when this returns.

        Raises:
            OSError: It cannot be written.
        """
        with self._locked():
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o600)
            size = os.fstat(descriptor).st_size
            try:
                with os.fdopen(descriptor, "ab") as file:
                    file.write(line.encode() + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                # Half a line, of a disk that is full, would look like one that somebody changed.
                os.truncate(self._path, size)
                raise

    def read(self) -> Iterator[Checkpoint | None]:
        """Every checkpoint, in their order; None for a line that is not signed with the key.

        Raises:
            OSError: The file cannot be read.
        """
        for line in self._lines():
            yield verified(line, self._key)

    def forget(self, before: int) -> None:
        """Leave out the checkpoints of records before this one.

        Raises:
            OSError: The file cannot be written.
        """
        with self._locked():
            kept = [
                line
                for line in self._lines()
                if (found := verified(line, self._key)) is None or found.position.sequence >= before
            ]
            replace(self._path, b"".join(line + b"\n" for line in kept))

    def _lines(self) -> Iterator[bytes]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES):
                if line.strip():
                    yield line.strip()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from writing at the same time."""
        lock = self._path.with_name(self._path.name + ".lock")
        with os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def verified(line: bytes, key: ECKey) -> Checkpoint | None:
    """The checkpoint of a line; None where it is not signed with the key."""
    try:
        signed = jws.deserialize_compact(line, key, algorithms=[ALGORITHM])
        if signed.headers().get("typ") != TYPE:
            return None
        return Checkpoint.parse(signed.payload)
    except (JoseError, ValueError):
        return None


def public_key(path: Path) -> ECKey:
    """The key in a file that holds its public half.

    Raises:
        OSError: It cannot be read.
        ValueError: It holds none.
    """
    try:
        return ECKey.import_key(json.loads(path.read_bytes()))
    except (JoseError, ValueError, TypeError) as error:
        raise ValueError(f"{path} holds no public key of an audit") from error


def _new_key() -> bytes:
    key = ECKey.generate_key(CURVE, {"use": "sig", "alg": ALGORITHM})
    return json.dumps(key.as_dict(private=True)).encode()
