"""The files of stored conversations that a browser can fetch beside the page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from fastapi import APIRouter, Request
from fastapi.responses import Response

from parley.inference.v1 import conversation_service_pb2 as pb2
from web.download import download
from web.gate import CONVERSATIONS_PATHS, session_of
from web.session import SessionStore

_FORMATS = {
    ".jsonl": (pb2.EXPORT_FORMAT_JSON_LINES, "application/jsonl; charset=utf-8"),
    ".md": (pb2.EXPORT_FORMAT_MARKDOWN, "text/markdown; charset=utf-8"),
}


def conversations_router(store: SessionStore) -> APIRouter:
    """A file for each way of writing: of the conversation that `id` names, or of all."""
    router = APIRouter()
    for path in CONVERSATIONS_PATHS:
        router.add_api_route(path, _exporting(store, path.removeprefix("/conversations")))
    return router


def _exporting(store: SessionStore, ending: str) -> Callable[[Request], Awaitable[Response]]:
    form, media_type = _FORMATS[ending]

    async def export(request: Request) -> Response:
        session = session_of(store, request.scope)
        if session is None:  # the gate lets nobody else in; between it and here the login may end
            return Response(status_code=401)
        named = request.query_params.getlist("id")
        pieces = session.client.conversations.export(
            pb2.ExportConversationsRequest(conversation_ids=named, format=form)
        )
        return await download(pieces, f"conversations-{datetime.now(UTC):%Y-%m-%d}{ending}", media_type)

    return export
