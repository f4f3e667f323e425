"""The file of usage that a browser can fetch beside the page."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter, Request
from fastapi.responses import Response

from web.administration.fields import Fields
from web.administration.usage import usage_query
from web.download import download
from web.gate import USAGE_PATH, session_of
from web.session import SessionStore

_UTF_8 = "text/csv; charset=utf-8"


def export_router(store: SessionStore) -> APIRouter:
    """The file of usage, for the login that asks for it."""
    router = APIRouter()

    @router.get(USAGE_PATH)
    async def usage(request: Request) -> Response:
        session = session_of(store, request.scope)
        if session is None:  # the gate lets nobody else in; between it and here the login may end
            return Response(status_code=401)
        today = datetime.now(UTC).date()
        fields = Fields({name: [value] for name, value in request.query_params.items()})
        pieces = session.client.administration.export_usage(usage_query(fields, today))
        return await download(pieces, f"usage-{today.isoformat()}.csv", _UTF_8)

    return router
