"""gRPC-Web from a page in real Chromium."""

from __future__ import annotations

import asyncio
import base64
import functools
import http.server
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from cli.preflight import free_port
from tests.conftest import TokenMaker
from tests.edge.conftest import Identity, Mesh, edge_settings
from tests.edge.front import Front, front
from tests.edge.toys import GOOD_KEY, chat_request
from web.server import tls_context

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

CHROMIUM = "/usr/bin/chromium"
CHAT = "/parley.inference.v1.InferenceService/Chat"
FOLDER = Path(__file__).with_name("page")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@contextmanager
def static_server(context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server of the static page; gives its address."""
    handler = functools.partial(_Quiet, directory=str(FOLDER))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def page_address(identity: Identity) -> Iterator[str]:
    """The page behind the edge; Gradio's stands here otherwise."""
    with static_server(tls_context(identity("web"))) as address:
        yield address


@pytest.fixture
def foreign_address() -> Iterator[str]:
    """The same page at somebody else's server."""
    with static_server() as address:
        yield address


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def paged_edge(
    mesh: Mesh, identity: Identity, page_address: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Front]:
    """An edge with the page behind it."""
    folder = tmp_path_factory.mktemp("paged")
    address = f"127.0.0.1:{free_port()}"
    told = {"listen_address": address, "web_address": page_address, **mesh.upstreams()}
    settings = edge_settings(identity("edge"), folder, **told)
    async with front(settings, folder) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with AsyncExitStack() as stack:
        playwright = await stack.enter_async_context(async_playwright())
        chromium = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        stack.push_async_callback(chromium.close)
        yield chromium


async def opened(browser: Browser, url: str) -> Page:
    """The page, in a profile of its own that takes the test's certificates."""
    context = await browser.new_context(ignore_https_errors=True)
    page = await context.new_page()
    await page.goto(url)
    await page.wait_for_function("window.callMethod !== undefined")
    return page


def packed(text: str) -> str:
    return base64.b64encode(chat_request(text).SerializeToString()).decode()


CALL = "([url, token, request, options]) => window.callMethod(url, token, request, options)"


async def test_a_page_of_the_edge_streams(paged_edge: Front, browser: Browser, tokens: TokenMaker) -> None:
    page = await opened(browser, paged_edge.url)
    token = tokens.token(tokens.principal("*"))
    ended = await page.evaluate(CALL, [CHAT, token, packed("alpha beta"), {}])
    words = await page.locator("#words li").all_text_contents()
    await page.context.close()
    assert ended["status"] == "0"
    assert len(ended["requestId"]) == 36
    assert ["alpha" in word for word in words] == [False, True, False, False]


async def test_a_page_streams_with_an_api_key(paged_edge: Front, browser: Browser) -> None:
    page = await opened(browser, paged_edge.url)
    options = {"headers": {"x-api-key": GOOD_KEY}}
    ended = await page.evaluate(CALL, [CHAT, None, packed("alpha"), options])
    await page.context.close()
    assert ended["status"] == "0"


async def test_a_page_reads_why_it_is_refused(paged_edge: Front, browser: Browser) -> None:
    page = await opened(browser, paged_edge.url)
    ended = await page.evaluate(CALL, [CHAT, None, packed("alpha"), {}])
    await page.context.close()
    assert ended["status"] == "16"


@pytest.mark.parametrize("how", ["stopped", "closed"])
async def test_a_page_that_is_left_cancels(
    paged_edge: Front, mesh: Mesh, browser: Browser, tokens: TokenMaker, how: str
) -> None:
    seen = mesh.seen["demo"]
    page = await opened(browser, paged_edge.url)
    call = [CHAT, tokens.token(tokens.principal("*")), packed("wait"), {}]
    await page.evaluate(f"(call) => {{ ({CALL})(call).catch(() => null); }}", call)
    await asyncio.wait_for(seen.waiting.wait(), 20)
    await (page.evaluate("window.stopCall()") if how == "stopped" else page.close())
    await asyncio.wait_for(seen.cancelled.wait(), 20)
    await page.context.close()
    assert seen.cancelled.is_set()


async def test_a_foreign_page_executes_nothing(
    paged_edge: Front, mesh: Mesh, browser: Browser, foreign_address: str, tokens: TokenMaker
) -> None:
    before = mesh.seen["demo"].calls
    page = await opened(browser, f"http://{foreign_address}")
    token = tokens.token(tokens.principal("*"))
    outcome = await page.evaluate(
        f"(call) => ({CALL})(call).then(() => 'called', (error) => error.name)",
        [f"{paged_edge.url}{CHAT}", token, packed("alpha"), {}],
    )
    simple = "(url) => fetch(url, {method: 'POST', mode: 'no-cors', body: '{}'}).then(() => 'sent')"
    assert await page.evaluate(simple, f"{paged_edge.url}/api/v1/chat") == "sent"
    await page.context.close()
    assert outcome == "TypeError"
    assert mesh.seen["demo"].calls == before
