"""The page in real Chromium."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.web.conftest import ask, shoot

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


async def test_a_question_is_answered_with_a_tool(page: Page) -> None:
    await ask(page, "What is 17 * 23?")
    await expect(page.locator("#chat")).to_contain_text("17 * 23 = 391.")
    card = page.locator(".p-tool")
    await expect(card).to_contain_text("calculator")
    await expect(card).to_contain_text('"result": 391')
    await shoot(page, "chat-desktop")
