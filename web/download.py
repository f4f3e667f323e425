"""Files that a browser fetches, as the platform streams them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi.responses import HTMLResponse, Response, StreamingResponse

from parley_client.errors import ParleyError
from parley_client.stream import EventStream
from web.advice import alert


async def download(pieces: EventStream[bytes], name: str, media_type: str) -> Response:
    """A file of these pieces; what went wrong before the first of them is told instead."""
    try:
        first = await anext(pieces, b"")
    except ParleyError as error:
        return HTMLResponse(alert(error), 502)
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_file(first, pieces), media_type=media_type, headers=headers)


async def _file(first: bytes, pieces: EventStream[bytes]) -> AsyncIterator[bytes]:
    """A file's pieces. A browser that goes away ends the call."""
    async with pieces:
        yield first
        async for piece in pieces:
            yield piece
