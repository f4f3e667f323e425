"""Real Chromium, and a person at the page in it."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import async_playwright, expect

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WAIT_MS = 60_000


async def log_in_and_be_answered(
    url: str, password: str, picture: Path, model: str = "parley-demo", flags: tuple[str, ...] = ()
) -> None:
    """Asks as the administrator what takes a tool to answer, and takes a picture of the answer."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
        page = await browser.new_page(ignore_https_errors=True, viewport={"width": 1280, "height": 860})
        page.set_default_timeout(WAIT_MS)
        await page.goto(url)
        await page.get_by_label("User name").fill("admin")
        await page.get_by_label("Password").fill(password)
        await page.get_by_role("button", name="Log in").click()
        box = page.get_by_label("Your question")
        await box.fill("What is 17 * 23?")
        await box.press("Enter")
        card = page.locator(".p-tool")
        await expect(card).to_contain_text("calculator", timeout=WAIT_MS)
        await expect(card).to_contain_text('"result": 391', timeout=WAIT_MS)
        await expect(page.get_by_role("button", name="Send")).to_be_visible(timeout=WAIT_MS)
        await expect(page.locator(".p-status")).to_contain_text(f"{model} is ready", timeout=WAIT_MS)
        picture.parent.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=picture, animations="disabled")
        await browser.close()
