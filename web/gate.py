"""The gate in front of the page: who may come in, by which door, and with what.

Gradio serves many routes that this page has no use for (uploads, file access,
a proxy, API documents). Only the few that it needs pass, and only for a browser
that is logged in.
"""

from __future__ import annotations

import ipaddress
import json
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.session import Session, SessionStore

COOKIE = "parley_session"
SECURE_COOKIE = "__Host-parley_session"
"""Its prefix makes browsers refuse it from other hosts and without TLS (RFC 6265bis, 4.1.3)."""

ADDRESS_HEADER = "x-parley-client-address"

MAX_BODY_BYTES = 2**20
MAX_IMAGE_BYTES = 16 * 2**20
"""What the contract takes of an image's file."""

LOGIN_PATH = "/login"
PASSWORD_PATH = "/password"  # noqa: S105  # where it is changed
USAGE_PATH = "/usage.csv"
IMAGES_PATH = "/images"
CONVERSATIONS_PATHS = ("/conversations.jsonl", "/conversations.md")
_OPEN = frozenset({LOGIN_PATH, "/healthz"})
_EXACT = frozenset(
    {
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/config"),
        ("GET", "/theme.css"),
        ("GET", "/favicon.ico"),
        ("GET", USAGE_PATH),
        *(("GET", path) for path in CONVERSATIONS_PATHS),
        ("GET", PASSWORD_PATH),
        ("POST", IMAGES_PATH),
        ("POST", PASSWORD_PATH),
        ("POST", "/logout"),
        ("GET", "/gradio_api/startup-events"),
        ("GET", "/gradio_api/queue/data"),
        ("POST", "/gradio_api/queue/join"),
        ("POST", "/gradio_api/run/predict"),
        ("POST", "/gradio_api/cancel"),
        ("POST", "/gradio_api/reset"),
    }
)
_HEARTBEAT = "/gradio_api/heartbeat/"
_ASSETS = "/assets/"
_FOLDERS = (_ASSETS, "/static/", _HEARTBEAT, f"{IMAGES_PATH}/")
_KEPT = "private, max-age=31536000, immutable"
"""How long a browser keeps an asset: its name changes with its content."""

_HEADERS = {
    # Gradio's page starts with inline scripts and fills its templates with
    # Function(), so scripts cannot be tied down further; everything else stays
    # on this origin, which also stops a picture in an answer from telling
    # another server what was said.
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    ),
    # Not `no-referrer`: with it browsers send a form with `Origin: null`, which no origin check lets in.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


def cookie_name(scheme: str) -> str:
    """The session cookie's name for a page that was asked for by this scheme."""
    return SECURE_COOKIE if scheme == "https" else COOKIE


def session_of(store: SessionStore, scope: Scope) -> Session | None:
    """The session of the browser that sent a request."""
    cookies = cookie_parser(Headers(scope=scope).get("cookie", ""))
    return store.find(cookies.get(cookie_name(scope["scheme"])))


def address_of(scope: Scope) -> str:
    """The IP address that a request came from, as the edge states it; empty where nobody does.

    With an identity only the edge is let in, and it overwrites the header.
    Without one the page has nobody's word for it, and none of its own.
    """
    stated = Headers(scope=scope).get(ADDRESS_HEADER, "")
    try:
        return str(ipaddress.ip_address(stated))
    except ValueError:
        return ""


class Gate:
    """ASGI middleware; see the module."""

    def __init__(self, app: ASGIApp, store: SessionStore) -> None:
        """Stand in front of `app`."""
        self._app = app
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page opens no WebSocket
            await send({"type": "websocket.close", "code": 1008})
            return
        send = _with_headers(send, scope["path"])
        most = self._most_bytes(scope)
        body = await _read(scope, receive, most)
        refusal = _too_large(most) if body is None else await self._refusal(scope, body)
        if refusal is not None:
            await refusal(scope, receive, send)
        else:
            await self._app(scope, _replay(body or b"", receive), send)

    def _most_bytes(self, scope: Scope) -> int:
        """How much a request may bring; a file only where somebody is logged in."""
        if scope["path"] == IMAGES_PATH and session_of(self._store, scope) is not None:
            return MAX_IMAGE_BYTES
        return MAX_BODY_BYTES

    async def _refusal(self, scope: Scope, body: bytes) -> Response | None:
        """Why a request may not pass; None when it may."""
        path = scope["path"]
        if not _same_origin(scope):
            return _error(403, "This request came from another site.")
        if path in _OPEN:
            return None
        session = session_of(self._store, scope)
        if session is None:
            return RedirectResponse("login", 303) if path == "/" else _error(401, "Log in first.")
        session.whereabouts.address = address_of(scope)
        if (scope["method"], path) not in _EXACT and not path.startswith(_FOLDERS):
            return _error(404, "There is nothing here.")
        try:
            names = _tab_names(scope, body)
        except ValueError:
            return _error(400, "The body is no JSON object.")
        for name in names:
            if await self._store.tab(session, name) is None:
                return _error(403, "This tab belongs to another login.")
        return None


def _same_origin(scope: Scope) -> bool:
    """Whether a request that changes something was sent by this page itself."""
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    if scope["method"] in ("GET", "HEAD") or origin is None:
        return True
    return urlsplit(origin).netloc == headers.get("host")


def _tab_names(scope: Scope, body: bytes) -> list[str]:
    """The names of tabs that a request speaks for. Gradio calls them session hashes.

    Raises:
        ValueError: An event's body is no JSON object.
    """
    path = scope["path"]
    names = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [])
    if path.startswith(_HEARTBEAT):
        names.append(path.removeprefix(_HEARTBEAT))
    if scope["method"] == "POST" and path.startswith("/gradio_api/"):
        name = _object(body).get("session_hash")
        if isinstance(name, str):
            names.append(name)
    return names


def _object(body: bytes) -> dict[str, Any]:
    """A body's JSON object.

    Raises:
        ValueError: It is something else.
    """
    try:
        value = json.loads(body)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("no object")  # noqa: TRY004  # wrong input, not a wrong call
    return value


async def _read(scope: Scope, receive: Receive, most: int) -> bytes | None:
    """The whole body; None when it is too large."""
    if scope["method"] in ("GET", "HEAD"):
        return b""
    body = bytearray()
    while True:
        message = await receive()
        piece: bytes = message.get("body", b"")
        body += piece
        if len(body) > most:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read already, and then whatever comes."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _with_headers(send: Send, path: str) -> Send:
    """Every answer with the security headers, and none kept by a cache but Gradio's assets."""

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(_HEADERS)
            kept = path.startswith(_ASSETS) and message["status"] == HTTPStatus.OK
            headers.setdefault("cache-control", _KEPT if kept else "no-store")
        await send(message)

    return with_headers


def _too_large(most: int) -> Response:
    return _error(413, f"A request may have {most:,} bytes.")


def _error(status: int, message: str) -> Response:
    return JSONResponse({"detail": message}, status)
