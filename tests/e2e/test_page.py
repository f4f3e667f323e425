"""The page at the front door, in real Chromium, with the real model behind it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import async_playwright, expect

from tests.platform import Stack

pytestmark = pytest.mark.slow

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PICTURE = Path(__file__).parents[2] / "build" / "e2e" / "page.png"
WAIT_MS = 60_000


async def test_a_person_logs_in_and_is_answered_with_a_tool(stack: Stack) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page(ignore_https_errors=True, viewport={"width": 1280, "height": 860})
        page.set_default_timeout(WAIT_MS)
        await page.goto(f"https://{stack.address}/")
        await page.get_by_label("User name").fill("admin")
        await page.get_by_label("Password").fill(stack.password)
        await page.get_by_role("button", name="Log in").click()
        box = page.get_by_label("Your question")
        await box.fill("What is 17 * 23?")
        await box.press("Enter")
        card = page.locator(".p-tool")
        await expect(card).to_contain_text("calculator", timeout=WAIT_MS)
        await expect(card).to_contain_text('"result": 391', timeout=WAIT_MS)
        await expect(page.get_by_role("button", name="Send")).to_be_visible(timeout=WAIT_MS)
        await expect(page.locator(".p-status")).to_contain_text("parley-demo is ready", timeout=WAIT_MS)
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=PICTURE, animations="disabled")
        await browser.close()
    assert PICTURE.stat().st_size > 0
