"""Changing one's own password: the first thing that a one-time password is good for."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from parley_client.errors import ParleyError
from web.advice import Advice, advise
from web.gate import PASSWORD_PATH, session_of
from web.login import templates
from web.session import SessionStore

MAX_CHARACTERS = 1024

_log = structlog.get_logger()

Password = Annotated[str, Form(max_length=MAX_CHARACTERS)]


def password_router(store: SessionStore) -> APIRouter:
    """The form for a new password."""
    router = APIRouter()

    @router.get(PASSWORD_PATH)
    async def form() -> Response:
        return _form()

    @router.post(PASSWORD_PATH)
    async def change(
        request: Request, current: Password = "", new: Password = "", again: Password = ""
    ) -> Response:
        session = session_of(store, request.scope)
        if session is None:  # the gate lets nobody else in; between it and here the login may end
            return RedirectResponse("login", 303)
        if new != again:
            return _form(Advice("The new password was not the same both times.", "", "", log_in=False), 400)
        try:
            await session.client.change_password(current, new)
        except ParleyError as error:
            _log.info("password not changed", reason=error.reason or error.code.name)
            return _form(advise(error), 400)
        return RedirectResponse(".", 303)

    return router


def _form(advice: Advice | None = None, status: int = 200) -> Response:
    return HTMLResponse(templates.get_template("password.html").render(advice=advice), status)
