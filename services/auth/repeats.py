"""Requests that may come more than once and shall take effect once (AIP-155)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from google.protobuf.descriptor import Descriptor
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.errors import RequestIdReused
from services.auth.store.models import ServedRequest
from services.auth.store.served import ServedRecords
from services.rpc.principal import Principal


class Repeatable(Protocol):
    """A request message with the field `request_id`."""

    DESCRIPTOR: Descriptor
    request_id: str

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes:
        """The message's bytes."""
        ...


@dataclass(frozen=True)
class Repeat:
    """What identifies a request, and what it asks for.

    Attributes:
        tenant_id: The caller's tenant.
        user_id: The caller; request ids of two callers never meet.
        request_id: As it is compared: UUIDs know no case. Empty where there is none.
        fingerprint: Of all that the request asks for.
    """

    tenant_id: str
    user_id: str
    request_id: str
    fingerprint: bytes

    @classmethod
    def of(cls, caller: Principal, request: Repeatable) -> Repeat:
        """Read a caller's request."""
        given, request.request_id = request.request_id, ""
        try:
            asked = request.SerializeToString(deterministic=True)
        finally:
            request.request_id = given
        digest = hashlib.sha256(request.DESCRIPTOR.full_name.encode() + b"\0" + asked).digest()
        return cls(caller.tenant_id, caller.user_id, given.lower(), digest)

    async def earlier(self, session: AsyncSession) -> str | None:
        """The id of what was made for this request before.

        Raises:
            RequestIdReused: It was made for another request.
        """
        if not self.request_id:
            return None
        served = await ServedRecords(session).find(self.user_id, self.request_id)
        if served is None:
            return None
        if served.fingerprint != self.fingerprint:
            raise RequestIdReused(self.request_id)
        return served.resource_id

    def note(self, session: AsyncSession, resource_id: str, now: datetime) -> None:
        """Store what was made for this request, if it may be repeated."""
        if not self.request_id:
            return
        served = ServedRequest(
            user_id=self.user_id,
            request_id=self.request_id,
            tenant_id=self.tenant_id,
            fingerprint=self.fingerprint,
            resource_id=resource_id,
            create_time=now,
        )
        ServedRecords(session).add(served)
