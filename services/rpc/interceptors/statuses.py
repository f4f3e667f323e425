"""Turns what a call raises into the status it leaves with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import structlog
from grpc_status import rpc_status

from services.rpc.call import current_call
from services.rpc.errors import Internal, ServiceError
from services.rpc.interceptors.around import CallInterceptor, Context


class Statuses(CallInterceptor):
    """The one place where errors become statuses.

    A `ServiceError` leaves as it is. Anything else is a fault of ours: it is
    logged in full and leaves masked, with nothing but the request id.
    """

    def __init__(self) -> None:
        self._log = structlog.get_logger("parley.rpc")

    @asynccontextmanager
    async def around(self, context: Context, method: str) -> AsyncIterator[None]:
        """Abort the call with the status of whatever it raises."""
        try:
            yield
        except grpc.aio.AbortError:
            raise  # Already has its status.
        except ServiceError as error:
            await self._abort(context, error)
        except Exception:
            request_id = current_call().request_id
            self._log.exception("internal error", method=method, request_id=request_id)
            await self._abort(context, Internal(request_id))

    async def _abort(self, context: Context, error: ServiceError) -> None:
        status = rpc_status.to_status(error.to_status())
        known = context.trailing_metadata() or ()
        trailing = (*known, *error.trailers(), *(status.trailing_metadata or ()))
        await context.abort(status.code, status.details, trailing)
