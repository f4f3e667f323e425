"""API keys as their owners and administrators manage them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from ulid import ULID

from services.auth.clock import Clock
from services.auth.delegation import colleague, owner_asked_for, require_held
from services.auth.errors import KeyNotFound, KeyNotLive, KeyOwnerNotService, ScopeExceedsOwner
from services.auth.exchange import KeyExchange
from services.auth.grants import key_grant, rights
from services.auth.keys import PresentedKey, mint
from services.auth.repeats import Repeat
from services.auth.revocations import revoke
from services.auth.roles import first_beyond
from services.auth.store.keys import KeyRecords
from services.auth.store.models import ApiKey, User, UserKind
from services.auth.store.revocation_models import RevocationKind
from services.rpc.principal import Principal
from services.sql.database import Database

WRITE_USERS = "auth.users.write"
EVERYONE = "-"

log = structlog.get_logger("parley.auth")


@dataclass(frozen=True)
class NewKey:
    """What a key shall be.

    Attributes:
        name: What its owner calls it.
        scopes: What it permits; empty means all that its owner may.
        user_id: The service account that it acts as; empty means the caller.
        expire_time: When it ends by itself; None means never.
        allowed_addresses: Where it may be used from; empty means anywhere.
    """

    name: str
    scopes: Sequence[str] = ()
    user_id: str = ""
    expire_time: datetime | None = None
    allowed_addresses: Sequence[str] = ()


@dataclass(frozen=True)
class MintedKey:
    """A stored key and, if this call made it, its secret.

    Attributes:
        key: The key.
        secret: The text that is presented; empty where an earlier call made it.
        replaced: The key that it follows.
    """

    key: ApiKey
    secret: str
    replaced: ApiKey | None = None


class KeyManagement:
    """Makes, lists, rotates and revokes keys."""

    def __init__(self, database: Database, exchange: KeyExchange, clock: Clock) -> None:
        """Work with these parts."""
        self._database = database
        self._exchange = exchange
        self._clock = clock

    async def create(self, caller: Principal, wanted: NewKey, repeat: Repeat) -> MintedKey:
        """Make a key, or give the one that this request made before.

        Raises:
            ScopeExceedsOwner: It would permit more than the caller may.
            PermissionMissing: The caller may not make keys for others.
            UserNotFound: The tenant has no such user.
            KeyOwnerNotService: The user is another person.
            RequestIdReused: The request id was used for another request.
        """
        try:
            return await self._create(caller, wanted, repeat)
        except IntegrityError:
            # The same request, at the same time, on another connection: its key is found now.
            return await self._create(caller, wanted, repeat)

    async def _create(self, caller: Principal, wanted: NewKey, repeat: Repeat) -> MintedKey:
        async with self._database.writing() as session:
            if earlier := await self._earlier(session, caller, repeat):
                return earlier
            scopes = await _scopes(session, caller, wanted)
            secret, now = mint(), self._clock()
            key = ApiKey(
                tenant_id=caller.tenant_id,
                user_id=wanted.user_id or caller.user_id,
                name=wanted.name,
                scopes=sorted(scopes),
                expire_time=wanted.expire_time,
                allowed_addresses=list(wanted.allowed_addresses),
                **_minted(secret, now),
            )
            await KeyRecords(session).add(key)
            repeat.note(session, key.key_id, now)
        log.info("key created", key_id=key.key_id, user_id=key.user_id, scopes=key.scopes)
        return MintedKey(key, secret.text)

    async def _earlier(self, session: AsyncSession, caller: Principal, repeat: Repeat) -> MintedKey | None:
        key_id = await repeat.earlier(session)
        if key_id is None:
            return None
        records = KeyRecords(session)
        key = await records.by_id(caller.tenant_id, key_id)
        if key is None:
            raise KeyNotFound(key_id)
        replaced = key.replaces_key_id and await records.by_id(caller.tenant_id, key.replaces_key_id)
        return MintedKey(key, "", replaced or None)

    async def page(self, caller: Principal, user_id: str, after: str, size: int) -> Sequence[ApiKey]:
        """Keys, newest first.

        Args:
            caller: Who asks.
            user_id: Whose; empty means the caller's, `EVERYONE` the whole tenant's.
            after: The id that the page before ended with.
            size: How many at most.

        Raises:
            PermissionMissing: The caller may not see those of others.
            UserNotFound: The tenant has no such user.
        """
        owner = owner_asked_for(caller, user_id)
        async with self._database.reading() as session:
            if owner == EVERYONE:
                return await KeyRecords(session).page(caller.tenant_id, None, after, size)
            if owner != caller.user_id:
                await colleague(session, caller, owner)
            return await KeyRecords(session).page(caller.tenant_id, owner, after, size)

    async def revoke(self, caller: Principal, key_id: str) -> ApiKey:
        """End a key; its first end stands.

        Raises:
            KeyNotFound: The caller has, and manages, no such key.
            GrantExceedsCaller: Its owner may do what the caller may not.
        """
        async with self._database.writing() as session:
            key = await _reachable(session, caller, key_id)
            if key.revoke_time is None:
                await _end(session, key, self._clock())
        self._exchange.forget(key.digest)
        log.info("key revoked", key_id=key.key_id, user_id=key.user_id)
        return key

    async def rotate(self, caller: Principal, key_id: str, overlap: timedelta, repeat: Repeat) -> MintedKey:
        """Make a key that follows another one, which goes on for the overlap.

        Raises:
            KeyNotFound: The caller has, and manages, no such key.
            KeyNotLive: It is revoked or over.
            KeyOwnerNotService: It is another person's.
            GrantExceedsCaller: It permits what the caller may not.
            RequestIdReused: The request id was used for another request.
        """
        try:
            return await self._rotate(caller, key_id, overlap, repeat)
        except IntegrityError:
            return await self._rotate(caller, key_id, overlap, repeat)

    async def _rotate(self, caller: Principal, key_id: str, overlap: timedelta, repeat: Repeat) -> MintedKey:
        async with self._database.writing() as session:
            if earlier := await self._earlier(session, caller, repeat):
                return earlier
            old, now, secret = await _reachable(session, caller, key_id), self._clock(), mint()
            _require_rotatable(caller, old, now)
            new = _successor(old, secret, now)
            await KeyRecords(session).add(new)
            repeat.note(session, new.key_id, now)
            if overlap > timedelta(0):
                old.expire_time = min(old.expire_time or now + overlap, now + overlap)
            else:
                await _end(session, old, now)
        self._exchange.forget(old.digest)
        log.info("key rotated", key_id=new.key_id, replaces_key_id=old.key_id, user_id=new.user_id)
        return MintedKey(new, secret.text, old)


async def _scopes(session: AsyncSession, caller: Principal, wanted: NewKey) -> Sequence[str]:
    """The new key's scopes.

    None means all that the owner may; asked for with a key, it can only mean
    all that this key may, or a narrow key would make itself a wide one.
    """
    beyond = first_beyond(wanted.scopes, caller.permissions)
    if beyond is not None:
        raise ScopeExceedsOwner(beyond)
    if wanted.user_id and wanted.user_id != caller.user_id:
        caller.require(WRITE_USERS)
        owner = await colleague(session, caller, wanted.user_id)
        _require_service(owner)
        if not wanted.scopes:
            require_held(caller, rights(owner))
        return wanted.scopes
    if not wanted.scopes and caller.key_id:
        return sorted(caller.permissions)
    return wanted.scopes


async def _reachable(session: AsyncSession, caller: Principal, key_id: str) -> ApiKey:
    """The key, if it is the caller's or the caller manages users."""
    key = await KeyRecords(session).by_id(caller.tenant_id, key_id)
    if key is None or (key.user_id != caller.user_id and not caller.may(WRITE_USERS)):
        raise KeyNotFound(key_id)
    if key.user_id != caller.user_id:
        require_held(caller, rights(key.user))
    return key


def _require_rotatable(caller: Principal, key: ApiKey, now: datetime) -> None:
    """Refuse to give a secret to whom the key would give more than they have."""
    if key.user_id != caller.user_id:
        _require_service(key.user)
    require_held(caller, key_grant(key).permissions)
    if not key.live(now):
        raise KeyNotLive(key.key_id)


def _require_service(owner: User) -> None:
    if owner.kind != UserKind.SERVICE:
        raise KeyOwnerNotService(owner.user_id)


def _successor(old: ApiKey, secret: PresentedKey, now: datetime) -> ApiKey:
    return ApiKey(
        tenant_id=old.tenant_id,
        user_id=old.user_id,
        name=old.name,
        scopes=old.scopes,
        expire_time=old.expire_time,
        allowed_addresses=old.allowed_addresses,
        replaces_key_id=old.key_id,
        **_minted(secret, now),
    )


def _minted(secret: PresentedKey, now: datetime) -> dict[str, object]:
    """What a new key's row has of its own."""
    return {
        "key_id": str(ULID()),
        "prefix": secret.prefix,
        "digest": secret.digest(),
        "create_time": now,
    }


async def _end(session: AsyncSession, key: ApiKey, now: datetime) -> None:
    key.revoke_time = now
    await revoke(session, kind=RevocationKind.KEY, subject_ids=[key.key_id], now=now)
