"""Serves `parley.auth.v1.SigningKeyService`."""

from __future__ import annotations

import structlog

from parley.auth.v1 import signing_key_service_pb2 as pb2
from parley.auth.v1.signing_key_service_pb2_grpc import SigningKeyServiceServicer
from services.auth.delegation import require_root
from services.auth.signing_keys import SigningKey, SigningKeys
from services.auth.timestamps import timestamp
from services.rpc.call import current_principal
from services.rpc.interceptors.around import Context
from services.sql.database import Database

log = structlog.get_logger("parley.auth")


class SigningKeyServicer(SigningKeyServiceServicer):
    """Shows and rotates the keys of the ring."""

    def __init__(self, keys: SigningKeys, database: Database) -> None:
        """Serve this ring; the database tells who belongs to the root tenant."""
        self._keys = keys
        self._database = database

    async def ListSigningKeys(
        self, request: pb2.ListSigningKeysRequest, context: Context
    ) -> pb2.ListSigningKeysResponse:
        """List the published keys."""
        await self._require_root()
        return pb2.ListSigningKeysResponse(signing_keys=map(self._message, self._keys.ring()))

    async def RotateSigningKey(
        self, request: pb2.RotateSigningKeyRequest, context: Context
    ) -> pb2.RotateSigningKeyResponse:
        """Begin a new key."""
        await self._require_root()
        kid = self._keys.rotate()
        log.info("signing key begun", kid=kid, by=current_principal().user_id)
        new = next(entry for entry in self._keys.ring() if entry.kid == kid)
        return pb2.RotateSigningKeyResponse(signing_key=self._message(new))

    async def _require_root(self) -> None:
        async with self._database.reading() as session:
            await require_root(session, current_principal())

    def _message(self, entry: SigningKey) -> pb2.SigningKey:
        in_use = str(self._keys.signer().kid) == entry.kid
        return pb2.SigningKey(kid=entry.kid, activate_time=timestamp(entry.activate_time), in_use=in_use)
