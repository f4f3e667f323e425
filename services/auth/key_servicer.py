"""Serves `parley.auth.v1.KeyService`."""

from __future__ import annotations

from datetime import UTC, timedelta

from parley.auth.v1 import key_service_pb2 as pb2
from parley.auth.v1.key_service_pb2_grpc import KeyServiceServicer
from services.auth.addresses import parse_networks
from services.auth.clock import Clock
from services.auth.exchange import KeyExchange
from services.auth.key_management import KeyManagement, NewKey
from services.auth.names import require_printable
from services.auth.repeats import Repeat
from services.auth.store.models import ApiKey
from services.auth.timestamps import duration, timestamp
from services.rpc.call import current_call, current_principal
from services.rpc.interceptors.around import Context
from services.rpc.listing import Listing
from services.rpc.pages import PageTokens

DEFAULT_OVERLAP = timedelta(days=1)


class KeyServicer(KeyServiceServicer):
    """Translates between the contract and `KeyManagement`."""

    def __init__(
        self,
        keys: KeyManagement,
        exchange: KeyExchange,
        pages: PageTokens,
        clock: Clock,
    ) -> None:
        """Work with these parts.

        Args:
            keys: Makes and ends keys.
            exchange: Gives tokens for keys.
            pages: Makes and reads page tokens.
            clock: What a token's remaining time is told by.
        """
        self._keys = keys
        self._exchange = exchange
        self._pages = pages
        self._clock = clock

    async def CreateKey(self, request: pb2.CreateKeyRequest, context: Context) -> pb2.CreateKeyResponse:
        """Make a key, or give the one that this request made before."""
        caller = current_principal()
        require_printable("name", request.name)
        wanted = NewKey(
            request.name,
            request.scopes,
            request.user_id,
            request.expire_time.ToDatetime(UTC) if request.HasField("expire_time") else None,
            parse_networks("allowed_addresses", request.allowed_addresses),
        )
        made = await self._keys.create(caller, wanted, Repeat.of(caller, request))
        return pb2.CreateKeyResponse(key=_message(made.key), secret=made.secret)

    async def ListKeys(self, request: pb2.ListKeysRequest, context: Context) -> pb2.ListKeysResponse:
        """List keys, newest first."""
        caller = current_principal()
        listing = Listing(self._pages, request, caller)
        found = await self._keys.page(caller, request.user_id, listing.after, listing.fetched)
        keys, token = listing.cut(found, lambda key: key.key_id)
        return pb2.ListKeysResponse(keys=[_message(key) for key in keys], next_page_token=token)

    async def RevokeKey(self, request: pb2.RevokeKeyRequest, context: Context) -> pb2.RevokeKeyResponse:
        """End a key."""
        return pb2.RevokeKeyResponse(
            key=_message(await self._keys.revoke(current_principal(), request.key_id))
        )

    async def RotateKey(self, request: pb2.RotateKeyRequest, context: Context) -> pb2.RotateKeyResponse:
        """Make a key that follows another one."""
        caller = current_principal()
        overlap = request.overlap.ToTimedelta() if request.HasField("overlap") else DEFAULT_OVERLAP
        made = await self._keys.rotate(caller, request.key_id, overlap, Repeat.of(caller, request))
        replaced = _message(made.replaced) if made.replaced is not None else None
        return pb2.RotateKeyResponse(key=_message(made.key), secret=made.secret, replaced_key=replaced)

    async def ExchangeKey(self, request: pb2.ExchangeKeyRequest, context: Context) -> pb2.ExchangeKeyResponse:
        """Give a token for a key."""
        token = await self._exchange.exchange(request.secret, current_call().client_address)
        return pb2.ExchangeKeyResponse(
            access_token=token.text, expires_in=duration(token.expires_at - self._clock())
        )


def _message(key: ApiKey) -> pb2.Key:
    return pb2.Key(
        key_id=key.key_id,
        name=key.name,
        prefix=key.prefix,
        scopes=key.scopes,
        create_time=timestamp(key.create_time),
        expire_time=timestamp(key.expire_time),
        last_use_time=timestamp(key.last_use_time),
        revoke_time=timestamp(key.revoke_time),
        user_id=key.user_id,
        allowed_addresses=key.allowed_addresses,
        replaces_key_id=key.replaces_key_id or "",
    )
