"""Serves `parley.auth.v1.RevocationService`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from parley.auth.v1 import revocation_service_pb2 as pb2
from parley.auth.v1.revocation_service_pb2_grpc import RevocationServiceServicer
from services.auth.revocations import RevocationLog
from services.auth.timestamps import timestamp
from services.rpc.interceptors.around import Context
from services.rpc.revocations import Revocation


class RevocationServicer(RevocationServiceServicer):
    """Tells other services what was revoked."""

    def __init__(self, revocations: RevocationLog, stopping: asyncio.Event) -> None:
        """Tell what stands in this log, until the process is `stopping`."""
        self._revocations = revocations
        self._stopping = stopping

    async def WatchRevocations(
        self, request: pb2.WatchRevocationsRequest, context: Context
    ) -> AsyncGenerator[pb2.WatchRevocationsResponse, None]:
        """Tell what matters, that it was all, and then whatever comes."""
        pause = pb2.WatchRevocationsResponse(synchronized=pb2.Synchronized())
        async with aclosing(self._revocations.follow()) as revocations:
            async for revocation in revocations:
                if self._stopping.is_set():
                    return
                if revocation is None:
                    yield pause
                    pause = pb2.WatchRevocationsResponse(heartbeat=pb2.Heartbeat())
                else:
                    yield pb2.WatchRevocationsResponse(revocation=_message(revocation))


def _message(revocation: Revocation) -> pb2.Revocation:
    return pb2.Revocation(
        kind=revocation.subject.kind,
        subject_id=revocation.subject.subject_id,
        revoke_time=timestamp(revocation.revoke_time),
        expire_time=timestamp(revocation.expire_time),
    )
