"""gRPC-Web from a page in real Chromium: the example of the TypeScript client."""

from __future__ import annotations

import asyncio
import functools
import http.server
import json
import shutil
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from cli.local.preflight import free_port
from tests.chromium import CHROMIUM, FLAGS
from tests.conftest import TokenMaker
from tests.edge.conftest import Identity, Mesh, edge_settings
from tests.edge.front import Front, front
from tests.edge.toys import GOOD_KEY
from tests.edge.typescript import TYPESCRIPT, bundle
from web.server import tls_context

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@contextmanager
def static_server(folder: Path, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server of the static page; gives its address."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the TypeScript client's example, as a server would have it."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copy(TYPESCRIPT / "examples/page/index.html", folder)
    await bundle("examples/page/page.ts", folder / "page.js")
    return folder


@pytest.fixture(scope="module")
def page_address(identity: Identity, page_folder: Path) -> Iterator[str]:
    """The page behind the edge; Gradio's stands here otherwise."""
    with static_server(page_folder, tls_context(identity("web"))) as address:
        yield address


@pytest.fixture
def foreign_address(page_folder: Path) -> Iterator[str]:
    """The same page at somebody else's server."""
    with static_server(page_folder) as address:
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
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        stack.push_async_callback(chromium.close)
        yield chromium


async def opened(browser: Browser, url: str) -> Page:
    """The page, in a profile of its own that takes the test's certificates."""
    context = await browser.new_context(ignore_https_errors=True)
    page = await context.new_page()
    await page.goto(url)
    await page.wait_for_function("document.forms[0].edge.value")
    return page


async def ask(page: Page, question: str, credential: str = "") -> None:
    """Fill the form in and send it."""
    await page.get_by_label("Key or token").fill(credential)
    await page.get_by_label("Question").fill(question)
    await page.get_by_role("button", name="Ask").click()


async def end_of(page: Page) -> str:
    """What the page says of the call's end, once it has come."""
    await page.locator("#end:not(:empty)").wait_for()
    return await page.locator("#end").inner_text()


async def test_a_page_of_the_edge_streams(paged_edge: Front, browser: Browser, tokens: TokenMaker) -> None:
    page = await opened(browser, paged_edge.url)
    await ask(page, "alpha beta", tokens.token(tokens.principal("*")))
    end = await end_of(page)
    events = [json.loads(line) for line in await page.locator("#events li").all_text_contents()]
    answer = await page.locator("#answer").inner_text()
    request_id = await page.locator("#request").inner_text()
    await page.context.close()
    assert (end, answer) == ("STOP", "alphabeta")
    assert [set(event) - {"sequence"} for event in events] == [
        {"started"},
        {"contentDelta"},
        {"contentDelta"},
        {"finished"},
    ]
    assert len(request_id) == 36


async def test_a_page_streams_with_an_api_key(paged_edge: Front, browser: Browser) -> None:
    page = await opened(browser, paged_edge.url)
    await ask(page, "alpha", GOOD_KEY)
    end = await end_of(page)
    await page.context.close()
    assert end == "STOP"


async def test_a_page_reads_why_it_is_refused(paged_edge: Front, browser: Browser) -> None:
    page = await opened(browser, paged_edge.url)
    await ask(page, "alpha")
    end = await end_of(page)
    await page.context.close()
    assert end.startswith("Unauthenticated TOKEN_MISSING: ")


@pytest.mark.parametrize("how", ["stopped", "closed"])
async def test_a_page_that_is_left_cancels(
    paged_edge: Front, mesh: Mesh, browser: Browser, tokens: TokenMaker, how: str
) -> None:
    seen = mesh.seen["demo"]
    page = await opened(browser, paged_edge.url)
    await ask(page, "wait", tokens.token(tokens.principal("*")))
    await asyncio.wait_for(seen.waiting.wait(), 20)
    await (page.get_by_role("button", name="Stop").click() if how == "stopped" else page.close())
    await asyncio.wait_for(seen.cancelled.wait(), 20)
    await page.context.close()
    assert seen.cancelled.is_set()


async def test_a_foreign_page_executes_nothing(
    paged_edge: Front, mesh: Mesh, browser: Browser, foreign_address: str, tokens: TokenMaker
) -> None:
    before = mesh.seen["demo"].calls
    page = await opened(browser, f"http://{foreign_address}")
    await page.get_by_label("Edge").fill(paged_edge.url)
    await ask(page, "alpha", tokens.token(tokens.principal("*")))
    end = await end_of(page)
    simple = "(url) => fetch(url, {method: 'POST', mode: 'no-cors', body: '{}'}).then(() => 'sent')"
    assert await page.evaluate(simple, f"{paged_edge.url}/api/v1/chat") == "sent"
    await page.context.close()
    assert end.endswith("Failed to fetch")
    assert mesh.seen["demo"].calls == before
