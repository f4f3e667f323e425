"""The playground in real Chromium."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, ViewportSize, expect

from tests.web.conftest import BROWSER, WAIT_MS, Stand, log_in, shoot

pytestmark = BROWSER

CANCEL_SECONDS = 10
PHONE: ViewportSize = {"width": 390, "height": 844}


@pytest_asyncio.fixture(loop_scope="session")
async def bench(context: BrowserContext, stand: Stand) -> AsyncIterator[Page]:
    """The playground of a person who may use it."""
    stand.edge.permissions = ("tools.execute",)
    page = await log_in(await context.new_page(), stand)
    await page.get_by_role("tab", name="Playground").click()
    await expect(page.get_by_role("heading", name="Playground", level=1)).to_be_visible()
    yield page
    stand.edge.permissions = ()


async def turn_to(page: Page, tool: str) -> None:
    await page.get_by_label("Tool", exact=True).select_option(tool)
    await expect(page.locator(".t-about .p-tool-name")).to_have_text(tool)
    await expect(page.locator("#playground-room [aria-busy=true]")).to_have_count(0)


async def test_who_may_not_call_tools_has_no_playground(page: Page) -> None:
    await expect(page.get_by_role("tab", name="Usage")).to_be_visible()
    await expect(page.get_by_role("tab", name="Playground")).to_have_count(0)


async def test_an_example_is_loaded_and_called_by_keyboard(bench: Page, stand: Stand) -> None:
    await turn_to(bench, "calculator")
    await expect(bench.locator(".t-about")).to_contain_text("safe")
    await expect(bench.locator(".t-about")).to_contain_text("needs tools.math.calculator")
    await bench.get_by_role("button", name="Complex numbers").press("Enter")
    await expect(bench.get_by_label("expression")).to_have_value("(3 + 2i) ** 2")
    await expect(bench.get_by_label("numbers")).to_have_value('"complex"')
    await bench.get_by_label("expression").press("Enter")
    outcome = bench.locator("#outcome")
    await expect(outcome).to_contain_text('"result": 391')
    await expect(outcome).to_contain_text("Waited 250 ms")
    await expect(bench.get_by_role("button", name="Run")).to_be_focused()
    call = stand.edge.calls[-1]
    assert (call.tool, json.loads(call.arguments)) == (
        "calculator",
        {"expression": "(3 + 2i) ** 2", "numbers": "complex"},
    )
    await shoot(bench, "desktop-light-playground")


async def test_cancel_ends_the_call_while_its_output_appears(bench: Page, stand: Stand) -> None:
    await turn_to(bench, "python_run")
    await bench.get_by_label("code").fill("while True: print()\n")
    await bench.get_by_role("button", name="Run").click()
    outcome = bench.locator("#outcome")
    await expect(outcome).to_contain_text("first line <img")
    await expect(outcome.get_by_role("progressbar")).to_have_attribute("value", "0.500")
    await expect(bench.get_by_label("code")).to_be_disabled()
    stand.edge.go.release()
    await expect(outcome).to_contain_text("earlier characters")
    assert len(await outcome.inner_text()) < 25_000
    await shoot(bench, "desktop-light-playground-running")
    await bench.get_by_role("button", name="Cancel").click()
    async with asyncio.timeout(CANCEL_SECONDS):
        assert await stand.edge.cancelled.get() == "python_run"
    await expect(outcome).to_contain_text("The call was ended, and the tool with it.")
    await expect(bench.get_by_label("code")).to_have_value("while True: print()\n")
    assert await bench.title() == "Parley"


async def test_a_closed_page_ends_the_call(bench: Page, stand: Stand) -> None:
    await turn_to(bench, "python_run")
    await bench.get_by_role("button", name="Add up").click()
    await bench.get_by_role("button", name="Run").click()
    await expect(bench.locator("#outcome")).to_contain_text("first line")
    await bench.close()
    async with asyncio.timeout(CANCEL_SECONDS):
        assert await stand.edge.cancelled.get() == "python_run"


async def test_an_error_says_its_reason_and_what_to_do(bench: Page) -> None:
    await turn_to(bench, "file_read")
    await bench.get_by_label("file_path").fill("x.txt")
    await bench.get_by_role("button", name="Run").click()
    alert = bench.locator("#outcome").get_by_role("alert")
    await expect(alert).to_contain_text("There is no file x.txt in the workspace.")
    await expect(alert).to_contain_text("Look up the name with a list of the folder.")
    await expect(alert).to_contain_text("FILE_NOT_FOUND")


async def test_json_is_checked_as_it_is_written(bench: Page, stand: Stand) -> None:
    called = len(stand.edge.calls)
    await turn_to(bench, "python_run")
    await bench.get_by_label("code").fill("1")
    words = bench.locator("textarea[name='argument.arguments']")
    await words.fill('["a"')
    await expect(bench.locator(".t-fault:visible")).to_contain_text("This is no JSON yet")
    await words.fill('{"a": 1}')
    await expect(bench.locator(".t-fault:visible")).to_contain_text("This must be a list")
    await bench.get_by_role("button", name="Run").click()
    await expect(words).to_be_focused()
    assert len(stand.edge.calls) == called
    await words.fill('["a"]')
    await expect(bench.locator(".t-fault:visible")).to_have_count(0)


async def test_form_and_json_are_two_views_of_the_same(bench: Page, stand: Stand) -> None:
    await turn_to(bench, "calculator")
    await bench.get_by_label("expression").fill("2 ** 64")
    await bench.get_by_role("button", name="Write JSON").click()
    text = bench.locator("#playground-json")
    assert json.loads(await text.input_value()) == {"expression": "2 ** 64"}
    await text.fill('{"expression": "1 + 1", "numbers": "units"}')
    await bench.get_by_role("button", name="Use the form").click()
    await expect(bench.get_by_label("expression")).to_have_value("1 + 1")
    await expect(bench.get_by_label("numbers")).to_have_value('"units"')


async def test_a_tool_that_is_off_says_why_and_cannot_be_called(bench: Page) -> None:
    await turn_to(bench, "db_query")
    await expect(bench.locator(".t-about")).to_contain_text("No SQL source is configured")
    await expect(bench.get_by_role("button", name="Run")).to_be_disabled()


async def test_the_playground_fits_a_phone_in_the_dark(bench: Page, browser: Browser, stand: Stand) -> None:
    context = await browser.new_context(viewport=PHONE, color_scheme="dark")
    context.set_default_timeout(WAIT_MS)
    page = await log_in(await context.new_page(), stand)
    await page.get_by_role("button", name="More tabs").click()
    await page.locator(".overflow-dropdown").get_by_text("Playground").click()
    await turn_to(page, "python_run")
    await page.get_by_role("button", name="Add up").click()
    await expect(page.get_by_label("code")).to_have_value("print(sum(range(101)))")
    await shoot(page, "phone-dark-playground")
    await page.get_by_role("button", name="Run").click()
    await expect(page.locator("#outcome")).to_contain_text("first line")
    await page.locator("#outcome").scroll_into_view_if_needed()
    await shoot(page, "phone-dark-playground-running")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await context.close()
    async with asyncio.timeout(CANCEL_SECONDS):
        assert await stand.edge.cancelled.get() == "python_run"
