"""The page in a real browser, in front of a scripted edge."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from deploy.certificates import CertificateAuthority
from parley_client.channel import open_channel
from services.inference.conversations.library import ConversationLibrary
from services.inference.conversations.schema import migrate
from services.rpc.tls import TlsFiles
from services.sql.database import Database, parse_url
from tests.chromium import CHROMIUM, FLAGS
from tests.postgresql import sqlite_url
from tests.web.scripted_edge import PASSWORD, ScriptedEdge, serve
from tests.web.scripts import MODELS, SCRIPTS, TOOL_SCRIPTS, TOOLS
from web.app import build_app
from web.edge import Edge
from web.environment import GRADIO_ENVIRONMENT
from web.server import PageServer
from web.session import SessionStore
from web.settings import WebSettings

BUILD_PATH = Path(__file__).parents[2] / "build" / "web"
WAIT_MS = 30_000
CLOSE_SECONDS = 30


BROWSER = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="session")]
"""The marks of a test in the browser; all of them share its loop, the browser and the page's server."""


@dataclass(frozen=True)
class Stand:
    """The page's server and what stands behind it."""

    url: str
    edge: ScriptedEdge
    store: SessionStore


@dataclass(frozen=True)
class Chromium:
    """A browser, its one lasting context, and the processes that it consists of."""

    browser: Browser
    context: BrowserContext
    processes: set[psutil.Process]

    async def within_time(self, closing: Awaitable[None]) -> None:
        """Close something of the browser. No timeout of a test ends that, so a browser that hangs is killed.

        Raises:
            TimeoutError: It hung. What comes after it fails at once.
        """
        try:
            await asyncio.wait_for(closing, CLOSE_SECONDS)
        except TimeoutError:
            for process in self.processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            raise


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def library(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ConversationLibrary]:
    """Where the scripted edge keeps conversations."""
    url = parse_url(sqlite_url(tmp_path_factory.mktemp("conversations") / "conversations.db"))
    await migrate(url)
    database = Database(url)
    yield ConversationLibrary(database)
    await database.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stand(
    authority: CertificateAuthority, identity: Callable[[str], TlsFiles], library: ConversationLibrary
) -> AsyncIterator[Stand]:
    """One page's server for all browser tests: it takes seconds to build."""
    os.environ.update(GRADIO_ENVIRONMENT)
    scripted = ScriptedEdge(
        scripts=dict(SCRIPTS),
        tool_scripts=dict(TOOL_SCRIPTS),
        models=MODELS,
        tools=TOOLS,
        library=library,
    )
    server, address = await serve(scripted, identity("edge"))
    edge = Edge(open_channel(address, authority=identity("edge").authority))
    store = SessionStore(max_sessions=100, idle_seconds=3600)
    page_server = PageServer(
        build_app(edge, store),
        WebSettings(listen_address="127.0.0.1:0", edge_address=address, grace_seconds=0),
    )
    serving = asyncio.create_task(page_server.serve_until_told())
    yield Stand(f"http://127.0.0.1:{page_server.port}/", scripted, store)
    page_server.should_exit = True
    async with asyncio.timeout(CLOSE_SECONDS):
        await store.close()
        await serving
        await edge.close()
        await server.stop(0)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Chromium]:
    """One browser for all tests."""
    expect.set_options(timeout=WAIT_MS)
    before = set(psutil.Process().children(recursive=True))
    playwright = await asyncio.wait_for(async_playwright().start(), CLOSE_SECONDS)
    browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    processes = set(psutil.Process().children(recursive=True)) - before
    started = Chromium(browser, await _context(browser), processes)
    yield started
    await started.within_time(started.context.close())
    await started.within_time(browser.close())
    await started.within_time(playwright.stop())


@pytest.fixture
def browser(chromium: Chromium) -> Browser:
    """For tests that need contexts of their own."""
    return chromium.browser


@pytest_asyncio.fixture(loop_scope="session")
async def context(chromium: Chromium, stand: Stand) -> AsyncIterator[BrowserContext]:
    """The browser as from new but for its cache: nothing of another test's, no page, no cookie, no call."""
    stand.edge.forget_cancelled()
    yield chromium.context
    await chromium.within_time(_clear(chromium.context))


async def _context(browser: Browser) -> BrowserContext:
    context = await browser.new_context(viewport={"width": 1280, "height": 860})
    context.set_default_timeout(WAIT_MS)
    return context


async def _clear(context: BrowserContext) -> None:
    for page in context.pages:
        await page.close()
    await context.clear_cookies()


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext, stand: Stand) -> Page:
    """The page, logged in."""
    return await log_in(await context.new_page(), stand)


async def log_in(page: Page, stand: Stand) -> Page:
    """Log a browser in and wait for the page to stand."""
    await page.goto(stand.url)
    await page.get_by_label("User name").fill("ada")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.locator("#status")).to_contain_text("parley-demo is ready")
    return page


async def ask(page: Page, question: str) -> None:
    """Write a question and send it with the keyboard."""
    box = page.get_by_label("Your question")
    await box.fill(question)
    await box.press("Enter")


async def shoot(page: Page, name: str) -> Path:
    """Keep a picture of the page for people to look at."""
    BUILD_PATH.mkdir(parents=True, exist_ok=True)
    path = BUILD_PATH / f"{re.sub(r'[^a-z-]', '', name)}.png"
    await page.screenshot(path=path, animations="disabled")
    return path
