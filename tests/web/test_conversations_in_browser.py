"""Stored conversations in real Chromium: what only a browser can show."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import BrowserContext, Page, expect

from parley_client.client import user_message
from services.inference.conversations.messages import NewMessage
from tests.web.conftest import BROWSER, Stand, ask, log_in, shoot
from tests.web.scripted_edge import OWNER

pytestmark = BROWSER


@pytest_asyncio.fixture(loop_scope="session")
async def talks(context: BrowserContext, stand: Stand) -> AsyncIterator[Page]:
    """The page of somebody who has stored one conversation."""
    assert stand.edge.library is not None
    for known in await stand.edge.library.page(OWNER, "", "", 100):
        await stand.edge.library.delete(OWNER, known.conversation_id)
    await stand.edge.library.create(OWNER, "", "Rome", [NewMessage(user_message("What shall I see?"))])
    stand.edge.permissions = ("inference.conversations.*",)
    yield await log_in(await context.new_page(), stand)
    stand.edge.permissions = ()


async def test_what_was_asked_is_opened_by_another_login_and_branched(talks: Page, stand: Stand) -> None:
    await ask(talks, "What is 17 * 23?")
    await expect(talks.locator(".c-open[aria-current] .c-title")).to_have_text("What is 17 * 23?")
    await expect(talks.locator("#chat")).to_contain_text("17 * 23 = 391.")
    await expect(talks.get_by_role("button", name="Send")).to_be_visible()
    await talks.get_by_role("button", name="Log out").click()
    await log_in(talks, stand)
    await talks.locator(".c-open", has_text="17 * 23").press("Enter")
    chat = talks.locator("#chat")
    await expect(chat).to_contain_text("17 * 23 = 391.")
    await expect(chat.locator(".p-tool.p-done")).to_contain_text('"result": 391')
    assert not await talks.locator("#clear").count()
    await talks.get_by_role("button", name="Branch from here after: What is 17 * 23?").press("Enter")
    await expect(talks.locator(".c-open[aria-current]")).to_contain_text("branch")
    await shoot(talks, "desktop-light-conversations")


async def test_a_conversation_is_renamed_and_deleted_by_keyboard(talks: Page) -> None:
    await talks.get_by_label("More about Rome").press("Enter")
    await talks.get_by_role("button", name="Rename Rome").press("Enter")
    await expect(talks.get_by_label("Title", exact=True)).to_be_focused()
    await talks.get_by_label("Title", exact=True).fill("Italy")
    await talks.keyboard.press("Enter")
    await expect(talks.locator(".c-title")).to_have_text(["Italy"])
    await talks.get_by_label("More about Italy").press("Enter")
    await talks.get_by_role("button", name="Delete Italy").press("Enter")
    await expect(talks.get_by_role("button", name="Cancel")).to_be_focused()
    await talks.get_by_role("dialog").get_by_role("button", name="Delete").press("Enter")
    await expect(talks.locator(".c-open")).to_have_count(0)


async def test_a_conversation_is_exported(talks: Page) -> None:
    await talks.get_by_label("More about Rome").press("Enter")
    async with talks.expect_download() as download:
        await talks.get_by_role("link", name="Export Rome as Markdown").press("Enter")
    path = await (await download.value).path()
    assert path.read_text("utf-8").startswith("# Rome\n\n**User**\n\nWhat shall I see?")


async def test_a_search_that_is_being_typed_outlives_the_end_of_an_answer(talks: Page, stand: Stand) -> None:
    await talks.get_by_label("Store new conversations").uncheck()
    await ask(talks, "Count")
    search = talks.get_by_label("Search what was said")
    await search.press_sequentially("on")
    for _ in range(4):
        stand.edge.go.release()
    await expect(talks.get_by_role("button", name="Send")).to_be_visible()
    await expect(talks.locator(".c-heading h2")).to_have_text(
        ["Not stored, gone with your login", "Conversations"]
    )
    await expect(search).to_be_focused()
    await search.press_sequentially("e")
    await expect(search).to_have_value("one")
    assert not stand.edge.requests[-1].continue_conversation
