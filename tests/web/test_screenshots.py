"""Pictures of the page for people to look at, in `build/web`."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from tests.web.conftest import BROWSER, WAIT_MS, Stand, ask, log_in, shoot

pytestmark = BROWSER

DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("name", "size"), [("desktop", DESKTOP), ("phone", PHONE)])
async def test_every_view_can_be_drawn(
    browser: Browser, stand: Stand, name: str, size: dict[str, int], scheme: str
) -> None:
    context = await browser.new_context(viewport=size, color_scheme=scheme, has_touch=name == "phone")
    context.set_default_timeout(WAIT_MS)
    page = await context.new_page()
    await page.goto(stand.url)
    shots = [await shoot(page, f"{name}-{scheme}-login")]
    await log_in(page, stand)
    shots.append(await shoot(page, f"{name}-{scheme}-empty"))
    await ask(page, "What is 17 * 23?")
    await expect(page.locator("#chat")).to_contain_text("391.")
    shots.append(await shoot(page, f"{name}-{scheme}-chat"))
    await ask(page, "Read notes/x.txt")
    await expect(page.locator("#chat")).to_contain_text("ENGINE_FAILED")
    shots.append(await shoot(page, f"{name}-{scheme}-error"))
    await page.get_by_role("tab", name="Tools").click()
    await page.locator(".p-entry", has_text="statistics").locator("summary").click()
    shots.append(await shoot(page, f"{name}-{scheme}-tools"))
    assert all(shot.stat().st_size > 0 for shot in shots)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await context.close()
