"""Logging in and out: a form, and a cookie that names the session."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import structlog
from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, select_autoescape

from parley_client.errors import ParleyError
from web.advice import Advice, advise
from web.edge import Edge
from web.gate import LOGIN_PATH, address_of, cookie_name, session_of
from web.session import Session, SessionStore

STATIC_PATH = Path(__file__).parent / "static"

LOGOUT_SECONDS = 5.0
"""Time that the platform has to end a session's tokens."""

_log = structlog.get_logger()
templates = Environment(loader=FileSystemLoader(STATIC_PATH), autoescape=select_autoescape())


def login_router(edge: Edge, store: SessionStore) -> APIRouter:
    """The routes beside the page itself: login, logout, and whether the process lives."""
    router = APIRouter()

    @router.get(LOGIN_PATH)
    async def form() -> Response:
        return _form()

    @router.post(LOGIN_PATH)
    async def login(
        request: Request,
        username: Annotated[str, Form(max_length=128)] = "",
        password: Annotated[str, Form(max_length=1024)] = "",
    ) -> Response:
        if not username or not password:
            return _form(username, Advice("Enter your user name and your password.", "", "", log_in=False))
        try:
            login = await edge.login(username, password, address_of(request.scope))
        except ParleyError as error:
            _log.info("login refused", reason=error.reason or error.code.name)
            return _form(username, advise(error), status=401)
        await _end(request)
        session = await store.open(username, login.client, login.whereabouts)
        return _welcome(request, session, "password" if login.must_change_password else ".")

    @router.post("/logout")
    async def logout(request: Request) -> Response:
        session = session_of(store, request.scope)
        if session is not None:
            await _end_at_the_platform(session)
        await _end(request)
        answer = RedirectResponse("login", 303)
        answer.delete_cookie(cookie_name(request.url.scheme), secure=request.url.scheme == "https")
        return answer

    @router.get("/healthz")
    async def healthz() -> Response:
        return PlainTextResponse("ok")

    async def _end(request: Request) -> None:
        session = session_of(store, request.scope)
        if session is not None:
            await store.end(session.id)

    return router


async def _end_at_the_platform(session: Session) -> None:
    """End the tokens too. Whatever comes of that, the browser is logged out."""
    try:
        async with asyncio.timeout(LOGOUT_SECONDS):
            await session.client.logout()
    except (ParleyError, TimeoutError) as error:
        _log.warning("tokens not ended", error=str(error))


def _form(username: str = "", advice: Advice | None = None, status: int = 200) -> Response:
    page = templates.get_template("login.html").render(username=username, advice=advice)
    return HTMLResponse(page, status)


def _welcome(request: Request, session: Session, target: str) -> Response:
    """Onward, with the cookie that names the session; 303 so that a reload sends no password again."""
    answer = RedirectResponse(target, 303)
    answer.set_cookie(
        cookie_name(request.url.scheme),
        session.id,
        httponly=True,
        secure=request.url.scheme == "https",
        samesite="lax",
    )
    return answer
