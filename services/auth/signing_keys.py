"""The keys that access tokens are signed with, kept as private JWKs (RFC 7517) in a folder.

A ring holds at most three kinds of key: one that is published but not used yet,
so that verifiers know it in time; the one in use; and those that were used,
published until the last token they signed is over.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from services.auth.clock import Clock
from services.auth.errors import StartError
from services.auth.private_files import prepare_folder, write_new
from services.rpc.principal import ALGORITHM

CURVE = "P-256"
# Longer than any verifier keeps a key set without asking again.
PUBLISH_LEAD = timedelta(minutes=20)


@dataclass(frozen=True)
class SigningKey:
    """A key and when its time begins.

    Attributes:
        activate_time: From then on it is the one that signs.
        key: The private key.
    """

    activate_time: datetime
    key: ECKey = field(repr=False)

    @property
    def kid(self) -> str:
        """The key's id, its thumbprint (RFC 7638)."""
        return str(self.key.kid)


class SigningKeys:
    """The ring. Replicas that share the folder follow each other's changes."""

    def __init__(self, folder: Path, clock: Clock, token_life: timedelta) -> None:
        """Load the ring, or begin one.

        Args:
            folder: Where the keys lie; made if missing.
            clock: Tells which key's time it is.
            token_life: How long a token outlives the key that signed it.

        Raises:
            StartError: The folder cannot be used, or what lies in it is no key.
        """
        self._folder = prepare_folder(folder)
        self._clock = clock
        self._token_life = token_life
        self._names: frozenset[str] = frozenset()
        self._ring: list[SigningKey] = []
        self._follow()
        if not self._ring:
            self._add(clock())

    def signer(self) -> ECKey:
        """The key to sign with now."""
        return self._in_use().key

    def published(self) -> list[ECKey]:
        """The keys that a token seen now may be signed with, or soon."""
        return [entry.key for entry in self.ring()]

    def ring(self) -> list[SigningKey]:
        """The same with their times, by the time from which they sign."""
        self._follow()
        return [entry for entry in self._ring if not self._over(entry)]

    def rotate(self, lead: timedelta = PUBLISH_LEAD) -> str:
        """Begin a new key, which signs after the lead, unless one waits for its time already.

        However often it is asked for, keys come no faster than they are published: all of them are in
        what every verifier fetches.

        Returns:
            The id of the key that signs next.

        Raises:
            OSError: It cannot be written.
        """
        self._follow()
        if self._ring[-1].activate_time > self._clock():
            return self._ring[-1].kid
        return self._add(self._clock() + lead).kid

    def keep_fresh(self, age: timedelta) -> None:
        """Begin a new key when the newest is this old, and delete those that are over.

        Raises:
            OSError: The folder cannot be written.
        """
        self._follow()
        if self._clock() - self._ring[-1].activate_time >= age:
            self.rotate()
        for entry in [entry for entry in self._ring if self._over(entry)]:
            self._path(entry.kid).unlink(missing_ok=True)

    def _in_use(self) -> SigningKey:
        self._follow()
        now = self._clock()
        return next((entry for entry in reversed(self._ring) if entry.activate_time <= now), self._ring[0])

    def _over(self, entry: SigningKey) -> bool:
        """Whether all tokens that the key signed are over."""
        later = [other for other in self._ring if other.activate_time > entry.activate_time]
        return bool(later) and later[0].activate_time + self._token_life < self._clock()

    def _add(self, activate_time: datetime) -> SigningKey:
        key = ECKey.generate_key(CURVE, {"use": "sig", "alg": ALGORITHM})
        jwk = {**key.as_dict(private=True), "kid": key.thumbprint()}
        content = {"activate_time": activate_time.isoformat(), "jwk": jwk}
        write_new(self._path(key.thumbprint()), json.dumps(content).encode())
        self._follow()
        return next(entry for entry in self._ring if entry.kid == key.thumbprint())

    def _path(self, kid: str) -> Path:
        return self._folder / f"{kid}.json"

    def _follow(self) -> None:
        """Read the folder again if keys came or went.

        A key never changes. Times would not do: two writes within a clock tick have the same.
        """
        names = frozenset(path.name for path in self._folder.glob("[!.]*.json"))
        if names != self._names:
            ring = [_load(self._folder / name) for name in names]
            self._ring = sorted(ring, key=lambda entry: (entry.activate_time, entry.kid))
            self._names = names


def _load(path: Path) -> SigningKey:
    try:
        content = json.loads(path.read_bytes())
        return SigningKey(datetime.fromisoformat(content["activate_time"]), ECKey.import_key(content["jwk"]))
    except (OSError, ValueError, KeyError, TypeError, JoseError) as error:
        raise StartError(f"the signing key {path} cannot be read: {type(error).__name__}") from error
