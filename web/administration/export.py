"""Files that a browser can fetch beside the page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from parley_client.errors import ParleyError
from parley_client.stream import EventStream
from web.administration.fields import Fields
from web.administration.usage import usage_query
from web.advice import alert
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
        try:
            first = await anext(pieces, b"")
        except ParleyError as error:
            return HTMLResponse(alert(error), 502)
        headers = {"content-disposition": f'attachment; filename="usage-{today.isoformat()}.csv"'}
        return StreamingResponse(_file(first, pieces), media_type=_UTF_8, headers=headers)

    return router


async def _file(first: bytes, pieces: EventStream[bytes]) -> AsyncIterator[bytes]:
    """A file's pieces. A browser that goes away ends the call."""
    async with pieces:
        yield first
        async for piece in pieces:
            yield piece
