"""The files of images, to the page and from it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from web.gate import IMAGES_PATH, session_of
from web.pictures.picture import Picture, total_bytes
from web.pictures.rules import size
from web.session import SessionStore

MAX_LOGIN_BYTES = 64 * 2**20
"""Files of images that a login may have the page hold."""

_FULL = f"The page holds {size(MAX_LOGIN_BYTES)} of your images already. Clear a conversation."
_NO_IMAGE = "is no GIF, JPEG, PNG or WebP."


def pictures_router(store: SessionStore) -> APIRouter:
    """Takes a file, and gives each to the login that has it. The gate bounds what comes."""
    router = APIRouter()

    @router.post(IMAGES_PATH)
    async def take(request: Request, name: str = "") -> Response:
        session = session_of(store, request.scope)
        if session is None:  # the gate lets nobody else in; between it and here the login may end
            return Response(status_code=401)
        data = await request.body()
        try:
            picture = Picture.of(data, name)
        except ValueError:
            return JSONResponse({"detail": f"{name[:80] or 'The file'} {_NO_IMAGE}"}, 415)
        if total_bytes(session.pictures()) + len(data) > MAX_LOGIN_BYTES:
            return JSONResponse({"detail": _FULL}, 409)
        session.tray.put(picture)
        return JSONResponse({"id": picture.id}, 201)

    @router.get(f"{IMAGES_PATH}/{{picture_id}}")
    async def give(request: Request, picture_id: str) -> Response:
        session = session_of(store, request.scope)
        known = session.pictures() if session is not None else ()
        picture = next((each for each in known if each.id == picture_id), None)
        if picture is None:
            return Response(status_code=404)
        return Response(picture.data, media_type=picture.media_type)

    return router
