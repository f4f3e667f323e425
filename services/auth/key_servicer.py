"""Serves `parley.auth.v1.KeyService`."""

from __future__ import annotations

import hashlib
import unicodedata
from datetime import UTC, datetime

import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy.exc import IntegrityError
from ulid import ULID

from parley.auth.v1 import key_service_pb2 as pb2
from parley.auth.v1.key_service_pb2_grpc import KeyServiceServicer
from services.auth.clock import Clock
from services.auth.errors import KeyNotFound, RequestIdReused, ScopeExceedsOwner
from services.auth.exchange import KeyExchange
from services.auth.keys import PresentedKey, mint
from services.auth.revocations import revoke
from services.auth.roles import first_beyond
from services.auth.store.database import Database
from services.auth.store.keys import KeyRecords
from services.auth.store.models import ApiKey, ServedRequest
from services.auth.store.revocation_models import RevocationKind
from services.rpc.call import current_principal
from services.rpc.errors import FieldViolation, InvalidRequest
from services.rpc.interceptors.around import Context
from services.rpc.pages import PageTokens, page_size
from services.rpc.principal import Principal

log = structlog.get_logger("parley.auth")


class KeyServicer(KeyServiceServicer):
    """Manages the caller's own keys."""

    def __init__(self, database: Database, exchange: KeyExchange, pages: PageTokens, clock: Clock) -> None:
        """Work with these parts."""
        self._database = database
        self._exchange = exchange
        self._pages = pages
        self._clock = clock

    async def CreateKey(self, request: pb2.CreateKeyRequest, context: Context) -> pb2.CreateKeyResponse:
        """Make a key, or give the one that this request made before."""
        principal = current_principal()
        _require_printable(request.name)
        if earlier := await self._earlier(principal, request):
            return pb2.CreateKeyResponse(key=_message(earlier))
        beyond = first_beyond(request.scopes, principal.permissions)
        if beyond is not None:
            raise ScopeExceedsOwner(beyond)
        secret = mint()
        key = _new_key(request, principal, secret, self._clock())
        try:
            async with self._database.writing() as session:
                await KeyRecords(session).add(key, _served(request, key))
        except IntegrityError:
            # The same request, at the same time, on another connection.
            if earlier := await self._earlier(principal, request):
                return pb2.CreateKeyResponse(key=_message(earlier))
            raise
        log.info("key created", key_id=key.key_id, user_id=key.user_id, scopes=key.scopes)
        return pb2.CreateKeyResponse(key=_message(key), secret=secret.text)

    async def _earlier(self, principal: Principal, request: pb2.CreateKeyRequest) -> ApiKey | None:
        """The key that was made for this request id.

        Raises:
            RequestIdReused: It was made for another request.
        """
        if not request.request_id:
            return None
        async with self._database.reading() as session:
            records = KeyRecords(session)
            served = await records.served(principal.user_id, _request_id(request))
            if served is None:
                return None
            if served.fingerprint != _fingerprint(request):
                raise RequestIdReused(request.request_id)
            return await records.owned(principal.tenant_id, principal.user_id, served.resource_id)

    async def ListKeys(self, request: pb2.ListKeysRequest, context: Context) -> pb2.ListKeysResponse:
        """List the caller's keys, newest first."""
        principal = current_principal()
        owner = f"{principal.tenant_id}/{principal.user_id}"
        after = self._pages.decode(request.page_token, request, owner)
        size = page_size(request.page_size)
        async with self._database.reading() as session:
            # One more than asked for tells whether there is a next page.
            keys = await KeyRecords(session).page(principal.tenant_id, principal.user_id, after, size + 1)
        more = len(keys) > size
        token = self._pages.encode(keys[size - 1].key_id, request, owner) if more else ""
        return pb2.ListKeysResponse(keys=[_message(key) for key in keys[:size]], next_page_token=token)

    async def RevokeKey(self, request: pb2.RevokeKeyRequest, context: Context) -> pb2.RevokeKeyResponse:
        """End a key; its first end stands."""
        principal = current_principal()
        async with self._database.writing() as session:
            records = KeyRecords(session)
            key = await records.owned(principal.tenant_id, principal.user_id, request.key_id)
            if key is None:
                raise KeyNotFound(request.key_id)
            if key.revoke_time is None:
                key.revoke_time = self._clock()
                await revoke(session, kind=RevocationKind.KEY, subject_id=key.key_id, now=key.revoke_time)
        self._exchange.forget(key.digest)
        log.info("key revoked", key_id=key.key_id, user_id=key.user_id)
        return pb2.RevokeKeyResponse(key=_message(key))


def _require_printable(name: str) -> None:
    """Refuse control characters: PostgreSQL cannot store NUL, and terminals obey the others.

    Raises:
        InvalidRequest: There is one.
    """
    if any(unicodedata.category(character) == "Cc" for character in name):
        violation = FieldViolation("name", "must not hold control characters")
        raise InvalidRequest("The name holds a control character.", violations=[violation])


def _new_key(
    request: pb2.CreateKeyRequest, principal: Principal, secret: PresentedKey, now: datetime
) -> ApiKey:
    return ApiKey(
        key_id=str(ULID()),
        tenant_id=principal.tenant_id,
        user_id=principal.user_id,
        name=request.name,
        prefix=secret.prefix,
        digest=secret.digest(),
        scopes=_scopes(request, principal),
        create_time=now,
        expire_time=_expire_time(request),
    )


def _scopes(request: pb2.CreateKeyRequest, principal: Principal) -> list[str]:
    """The new key's scopes.

    None means all that the owner may; asked for with a key, it can only mean
    all that this key may, or a narrow key would make itself a wide one.
    """
    if not request.scopes and principal.key_id:
        return sorted(principal.permissions)
    return sorted(request.scopes)


def _served(request: pb2.CreateKeyRequest, key: ApiKey) -> ServedRequest | None:
    if not request.request_id:
        return None
    return ServedRequest(
        user_id=key.user_id,
        request_id=_request_id(request),
        tenant_id=key.tenant_id,
        fingerprint=_fingerprint(request),
        resource_id=key.key_id,
        create_time=key.create_time,
    )


def _request_id(request: pb2.CreateKeyRequest) -> str:
    """The request id as it is compared: UUIDs know no case."""
    return request.request_id.lower()


def _fingerprint(request: pb2.CreateKeyRequest) -> bytes:
    """Of all that the request asks for."""
    plain = pb2.CreateKeyRequest()
    plain.CopyFrom(request)
    plain.ClearField("request_id")
    return hashlib.sha256(plain.SerializeToString(deterministic=True)).digest()


def _expire_time(request: pb2.CreateKeyRequest) -> datetime | None:
    return request.expire_time.ToDatetime(UTC) if request.HasField("expire_time") else None


def _timestamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp


def _message(key: ApiKey) -> pb2.Key:
    return pb2.Key(
        key_id=key.key_id,
        name=key.name,
        prefix=key.prefix,
        scopes=key.scopes,
        create_time=_timestamp(key.create_time),
        expire_time=_timestamp(key.expire_time),
        last_use_time=_timestamp(key.last_use_time),
        revoke_time=_timestamp(key.revoke_time),
    )
