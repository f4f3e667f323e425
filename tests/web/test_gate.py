"""The gate and the login, by HTTP alone."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import grpc
import httpx
import pytest
import pytest_asyncio
from starlette.types import Message

from parley.auth.v1 import session_service_pb2, usage_service_pb2, user_service_pb2
from parley_client.channel import open_channel
from services.rpc.tls import TlsFiles
from tests.web.pictures.made import file
from tests.web.scripted_edge import PASSWORD, ScriptedEdge, serve, status
from tests.web.scripts import MODELS, TOOLS
from web.answer import Answer, Pace
from web.app import build_app
from web.edge import Edge
from web.gate import COOKIE, MAX_BODY_BYTES, MAX_IMAGE_BYTES, SECURE_COOKIE, Gate
from web.pictures.files import MAX_LOGIN_BYTES
from web.pictures.picture import Picture
from web.session import SessionStore

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORIGIN = "http://parley.test"
CREDENTIALS = {"username": "ada", "password": PASSWORD}


@dataclass(frozen=True)
class Door:
    """A browser without a screen, and what it talks to."""

    browser: httpx.AsyncClient
    house: House

    @property
    def store(self) -> SessionStore:
        """The sessions."""
        return self.house.store

    async def enter(self) -> httpx.AsyncClient:
        """Log in."""
        answer = await self.browser.post("/login", data=CREDENTIALS)
        assert answer.status_code == 303
        return self.browser


@dataclass(frozen=True)
class House:
    """The application and its sessions."""

    transport: httpx.ASGITransport
    store: SessionStore
    edge: ScriptedEdge


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(identity: Callable[[str], TlsFiles]) -> AsyncIterator[House]:
    """One application for all tests: it takes seconds to build."""
    scripted = ScriptedEdge(models=MODELS, tools=TOOLS)
    server, address = await serve(scripted, identity("edge"))
    edge = Edge(open_channel(address, authority=identity("edge").authority))
    store = SessionStore(max_sessions=100, idle_seconds=3600)
    yield House(httpx.ASGITransport(build_app(edge, store)), store, scripted)
    await store.close()
    await edge.close()
    await server.stop(0)


@pytest_asyncio.fixture(loop_scope="module")
async def door(house: House) -> AsyncIterator[Door]:
    async with httpx.AsyncClient(transport=house.transport, base_url=ORIGIN) as browser:
        yield Door(browser, house)


async def test_without_a_login_there_is_only_the_login(door: Door) -> None:
    page = await door.browser.get("/")
    assert (page.status_code, page.headers["location"]) == (303, "login")
    for path in ("/config", "/gradio_api/info", "/assets/x.js", "/gradio_api/queue/data?session_hash=x"):
        assert (await door.browser.get(path)).status_code == 401
    assert (await door.browser.post("/gradio_api/queue/join", json={})).status_code == 401
    assert (await door.browser.get("/login")).status_code == 200
    assert (await door.browser.get("/healthz")).text == "ok"


async def test_a_login_opens_the_page(door: Door) -> None:
    browser = await door.enter()
    page = await browser.get("/")
    assert page.status_code == 200
    assert "Parley" in page.text


async def test_wrong_credentials_are_refused_with_what_to_do(door: Door) -> None:
    answer = await door.browser.post("/login", data={**CREDENTIALS, "password": "<b>"})
    assert answer.status_code == 401
    assert "Check the user name and the password" in answer.text
    assert "<b>" not in answer.text
    assert not answer.cookies


async def test_a_name_is_shown_again_escaped(door: Door) -> None:
    answer = await door.browser.post("/login", data={"username": '"><script>', "password": "x"})
    assert '"><script>' not in answer.text


async def test_empty_credentials_are_asked_for_again(door: Door) -> None:
    answer = await door.browser.post("/login", data={"username": "ada"})
    assert "Enter your user name and your password." in answer.text


async def test_overlong_credentials_are_refused(door: Door) -> None:
    answer = await door.browser.post("/login", data={"username": "a" * 129, "password": "x"})
    assert answer.status_code == 422


async def test_a_login_gets_a_new_id_and_ends_the_old_one(door: Door) -> None:
    browser = await door.enter()
    first = browser.cookies[COOKIE]
    await door.enter()
    assert browser.cookies[COOKIE] != first
    assert door.store.find(first) is None


async def test_logging_out_ends_the_session(door: Door) -> None:
    browser = await door.enter()
    session_id = browser.cookies[COOKIE]
    answer = await browser.post("/logout", headers={"origin": ORIGIN})
    assert (answer.status_code, answer.headers["location"]) == (303, "login")
    assert door.store.find(session_id) is None
    assert (await browser.get("/")).status_code == 303
    door.house.edge.auth.last(session_service_pb2.LogoutRequest)


async def test_a_browser_is_logged_out_though_the_platform_cannot_end_the_tokens(door: Door) -> None:
    browser = await door.enter()
    session_id = browser.cookies[COOKIE]
    refusals = door.house.edge.auth.refusals
    refusals["Logout"] = status(grpc.StatusCode.UNAVAILABLE, "Away.", "DEPENDENCY_UNAVAILABLE")
    answer = await browser.post("/logout", headers={"origin": ORIGIN})
    refusals.clear()
    assert answer.status_code == 303
    assert door.store.find(session_id) is None


async def test_another_site_cannot_act_for_a_person(door: Door) -> None:
    browser = await door.enter()
    for origin in ("https://evil.invalid", "null", "http://parley.test.evil.invalid"):
        for path in ("/login", "/logout", "/gradio_api/queue/join"):
            answer = await browser.post(path, headers={"origin": origin}, json={})
            assert (origin, path, answer.status_code) == (origin, path, 403)


UNUSED = (
    ("GET", "/gradio_api/info"),
    ("GET", "/gradio_api/openapi.json"),
    ("POST", "/gradio_api/upload"),
    ("GET", "/gradio_api/file=/etc/passwd"),
    ("GET", "/gradio_api/proxy=https://evil.invalid/"),
    ("POST", "/gradio_api/component_server"),
    ("POST", "/gradio_api/mcp/"),
    ("GET", "/monitoring"),
    ("GET", "/gradio_api/runs"),
    ("POST", "/gradio_api/api/predict"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
)


async def test_what_the_page_does_not_need_is_not_there(door: Door) -> None:
    browser = await door.enter()
    answers = {(method, path): await browser.request(method, path) for method, path in UNUSED}
    assert {request: answer.status_code for request, answer in answers.items()} == dict.fromkeys(UNUSED, 404)


async def test_a_tab_of_another_login_cannot_be_read(door: Door) -> None:
    browser = await door.enter()
    session = door.store.find(browser.cookies[COOKIE])
    assert session is not None
    await door.store.tab(session, "tab-of-ada")
    browser.cookies.clear()
    await door.enter()
    data = await browser.get("/gradio_api/queue/data", params={"session_hash": "tab-of-ada"})
    join = await browser.post("/gradio_api/queue/join", json={"session_hash": "tab-of-ada"})
    beat = await browser.get("/gradio_api/heartbeat/tab-of-ada")
    assert [answer.status_code for answer in (data, join, beat)] == [403, 403, 403]


async def test_a_large_body_is_refused(door: Door) -> None:
    browser = await door.enter()
    answer = await browser.post("/gradio_api/queue/join", content=b"x" * (MAX_BODY_BYTES + 1))
    assert answer.status_code == 413


async def test_an_image_is_taken_from_who_is_logged_in_and_given_to_nobody_else(door: Door) -> None:
    data = file() + bytes(MAX_BODY_BYTES)
    assert (await door.browser.post("/images", content=data)).status_code == 413
    assert (await door.browser.post("/images", content=file())).status_code == 401
    browser = await door.enter()
    assert (await browser.post("/images", content=bytes(MAX_IMAGE_BYTES + 1))).status_code == 413
    refused = await browser.post("/images?name=x.svg", content=b"<svg/>")
    assert (refused.status_code, refused.json()["detail"]) == (415, "x.svg is no GIF, JPEG, PNG or WebP.")
    taken = await browser.post("/images?name=red.png", content=data, headers={"content-type": "text/html"})
    assert taken.status_code == 201
    given = await browser.get(f"/images/{taken.json()['id']}")
    assert (given.content, given.headers["content-type"]) == (data, "image/png")
    async with httpx.AsyncClient(transport=door.house.transport, base_url=ORIGIN) as other:
        stranger = await Door(other, door.house).enter()
        assert (await stranger.get(f"/images/{taken.json()['id']}")).status_code == 404


async def test_a_login_has_the_page_hold_so_many_images_and_no_more(door: Door) -> None:
    browser = await door.enter()
    session = door.store.find(browser.cookies[COOKIE])
    assert session is not None
    held = session.begin()
    large = Picture.of(file() + bytes(MAX_LOGIN_BYTES), "large.png")
    held.ask("What is this?", Answer(Pace(0)), [large])
    refused = await browser.post("/images", content=file())
    assert (refused.status_code, "64 MiB" in refused.json()["detail"]) == (409, True)
    held.turns.clear()
    assert (await browser.post("/images", content=file())).status_code == 201


async def test_a_body_that_is_no_event_is_refused(door: Door) -> None:
    browser = await door.enter()
    for body in (b"", b"no json", b"[]", b"\xff", b"[" * 100_000):
        answer = await browser.post("/gradio_api/queue/join", content=body)
        assert (body[:8], answer.status_code) == (body[:8], 400)


async def test_every_answer_carries_the_security_headers(door: Door) -> None:
    for path in ("/login", "/", "/nowhere"):
        headers = (await door.browser.get(path)).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "img-src 'self' data:" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"


async def test_browsers_keep_assets_and_nothing_else(door: Door) -> None:
    browser = await door.enter()
    asset = re.search(r"assets/[\w-]+\.js", (await browser.get("/")).text)
    assert asset is not None
    kept = await browser.get(f"/{asset[0]}")
    assert (kept.status_code, kept.headers["cache-control"]) == (200, "private, max-age=31536000, immutable")
    for path in ("/assets/nothing.js", "/theme.css"):
        assert (await browser.get(path)).headers["cache-control"] == "no-store"


async def test_calls_state_where_the_person_is_by_the_edge_s_word(door: Door) -> None:
    said = {"x-parley-client-address": "2001:db8::7"}
    await door.browser.post("/login", data=CREDENTIALS, headers=said)
    assert door.house.edge.stated == "2001:db8::7"
    # Logging out is a call of the person, who has moved meanwhile.
    await door.browser.post("/logout", headers={"x-parley-client-address": "192.0.2.9"})
    assert door.house.edge.stated == "192.0.2.9"


@pytest.mark.parametrize("said", ["", "127.0.0.1, 192.0.2.9", "localhost", "x" * 500])
async def test_what_is_no_address_is_not_stated(door: Door, said: str) -> None:
    headers = {"x-parley-client-address": said, "x-forwarded-for": "192.0.2.9"}
    await door.browser.post("/login", data=CREDENTIALS, headers=headers)
    assert door.house.edge.stated == ""


async def test_over_tls_the_cookie_is_bound_to_the_host(door: Door) -> None:
    async with httpx.AsyncClient(transport=door.house.transport, base_url="https://parley.test") as browser:
        answer = await browser.post("/login", data=CREDENTIALS)
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"{SECURE_COOKIE}=")
        assert {"HttpOnly", "Secure", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
        assert "Domain" not in cookie


async def test_no_event_is_an_api(door: Door) -> None:
    browser = await door.enter()
    config = (await browser.get("/config")).json()
    assert config["dependencies"]
    assert {event.get("api_visibility") for event in config["dependencies"]} <= {"private", None}
    assert not config.get("mcp_server")


async def test_websockets_are_closed() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    gate = Gate(receive, SessionStore(max_sessions=1, idle_seconds=1))  # type: ignore[arg-type]
    await gate({"type": "websocket"}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_usage_is_fetched_as_a_file(door: Door) -> None:
    await door.enter()
    answer = await door.browser.get("/usage.csv?whose=tenant&by=user&period=7")
    assert answer.text == "day,model,requests\r\n2026-11-23,parley-demo,7\r\n"
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith('attachment; filename="usage-2')
    query = door.house.edge.auth.last(usage_service_pb2.ExportUsageRequest).query
    assert query.tenant_wide
    assert len(query.group_by) == 2


async def test_a_file_that_is_refused_says_why(door: Door) -> None:
    await door.enter()
    refusals = door.house.edge.auth.refusals
    refusals["ExportUsage"] = status(grpc.StatusCode.PERMISSION_DENIED, "You may not.", "PERMISSION_MISSING")
    answer = await door.browser.get("/usage.csv")
    refusals.clear()
    assert answer.status_code == 502
    assert "PERMISSION_MISSING" in answer.text


async def test_a_one_time_password_leads_to_the_form_for_another(door: Door) -> None:
    door.house.edge.one_time = True
    answer = await door.browser.post("/login", data=CREDENTIALS)
    door.house.edge.one_time = False
    assert answer.headers["location"] == "password"
    assert "Choose a new password" in (await door.browser.get("/password")).text


async def test_a_password_is_changed_and_the_rights_are_up_to_date(door: Door) -> None:
    await door.enter()
    refreshed = door.house.edge.refreshed
    form = {"current": PASSWORD, "new": "a new one for ada", "again": "a new one for ada"}
    answer = await door.browser.post("/password", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, ".")
    request = door.house.edge.auth.last(user_service_pb2.ChangePasswordRequest)
    assert (request.current_password, request.new_password) == (PASSWORD, "a new one for ada")
    assert door.house.edge.refreshed == refreshed + 1


async def test_a_password_is_not_changed_by_mistake(door: Door) -> None:
    await door.enter()
    form = {"current": PASSWORD, "new": "a new one for ada", "again": "another one for ada"}
    answer = await door.browser.post("/password", data=form)
    assert answer.status_code == 400
    assert "not the same both times" in answer.text
    assert "a new one for ada" not in answer.text


async def test_a_wrong_password_changes_nothing(door: Door) -> None:
    await door.enter()
    refusals = door.house.edge.auth.refusals
    refusals["ChangePassword"] = status(grpc.StatusCode.INVALID_ARGUMENT, "It is another.", "PASSWORD_WRONG")
    form = {"current": "x", "new": "a new one for ada", "again": "a new one for ada"}
    answer = await door.browser.post("/password", data=form)
    refusals.clear()
    assert answer.status_code == 400
    assert "PASSWORD_WRONG" in answer.text


async def test_the_administration_s_routes_need_a_login_and_the_page_s_own_origin(door: Door) -> None:
    for path in ("/usage.csv", "/password"):
        assert (await door.browser.get(path)).status_code == 401
    await door.enter()
    foreign = await door.browser.post("/password", data={}, headers={"origin": "https://evil.test"})
    assert foreign.status_code == 403
