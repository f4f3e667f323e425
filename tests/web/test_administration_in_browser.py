"""The administration in real Chromium: what only a browser can show."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, ViewportSize, expect

from parley.auth.v1 import key_service_pb2, user_service_pb2
from parley.inference.v1 import rollout_service_pb2
from tests.web.administration_data import tenant
from tests.web.conftest import BROWSER, WAIT_MS, Stand, log_in, shoot
from tests.web.scripted_auth import ONE_TIME_PASSWORD, SECRET
from tests.web.scripts import HOSTILE

pytestmark = BROWSER

ROOMS = ["Usage", "Keys", "Users", "Roles", "Quotas", "Rollouts", "Status", "Audit"]
PHONE: ViewportSize = {"width": 390, "height": 844}


@pytest_asyncio.fixture(loop_scope="session")
async def office(context: BrowserContext, stand: Stand) -> AsyncIterator[Page]:
    """The page of an administrator, with a tenant of its own."""
    fresh = tenant()
    vars(stand.edge.auth).update(vars(fresh))
    stand.edge.permissions = ("*",)
    page = await log_in(await context.new_page(), stand)
    await expect(page.get_by_role("tab", name="Audit")).to_be_visible()
    yield page
    stand.edge.permissions = ()


async def turn_to(page: Page, room: str) -> None:
    """Turn to a tab and wait for what is in it."""
    await page.get_by_role("tab", name=room).click()
    await expect(page.get_by_role("heading", name=room, level=1)).to_be_visible()


async def test_tabs_are_those_of_the_person_s_permissions(page: Page, stand: Stand) -> None:
    await expect(page.get_by_role("tab")).to_have_text(["Chat", "Tools", "Usage"])
    stand.edge.permissions = ("auth.keys", "auth.audit.read")
    await page.reload()
    await expect(page.get_by_role("tab")).to_have_text(["Chat", "Tools", "Usage", "Keys", "Audit"])
    stand.edge.permissions = ()


async def test_a_user_is_made_by_keyboard_and_the_password_shown_once(office: Page, stand: Stand) -> None:
    await turn_to(office, "Users")
    await office.get_by_role("button", name="New user").press("Enter")
    await expect(office.get_by_label("User name")).to_be_focused()
    await office.keyboard.type("edsger")
    await office.keyboard.press("Enter")
    secret = office.locator(".a-secret code")
    await expect(secret).to_have_text(ONE_TIME_PASSWORD)
    await expect(office.get_by_role("button", name="Copy")).to_be_focused()
    await office.get_by_role("button", name="I have kept it").press("Enter")
    await expect(secret).to_have_count(0)
    await expect(office.locator("#users-room tbody tr").first).to_contain_text("edsger")
    assert stand.edge.auth.last(user_service_pb2.CreateUserRequest).roles == ["user"]


async def test_what_cannot_be_undone_is_asked_first(office: Page, stand: Stand) -> None:
    await turn_to(office, "Users")
    disable = office.get_by_role("button", name="Disable grace")
    await disable.click()
    await expect(office.get_by_role("dialog", name="Disable grace?")).to_be_visible()
    await expect(office.get_by_role("button", name="Cancel")).to_be_focused()
    await office.keyboard.press("Escape")
    await expect(office.get_by_role("dialog")).to_have_count(0)
    await expect(disable).to_be_focused()
    assert not stand.edge.auth.users[1].HasField("disable_time")
    await disable.press("Enter")
    await office.get_by_role("dialog").get_by_role("button", name="Disable").click()
    await expect(office.get_by_role("status").first).to_contain_text("grace is shut out.")
    await expect(office.get_by_role("button", name="Enable grace")).to_be_visible()


async def test_a_filter_is_used_when_it_is_chosen_and_keeps_the_focus(office: Page) -> None:
    await turn_to(office, "Users")
    state = office.get_by_label("State")
    await state.focus()
    await state.select_option("disabled")
    await expect(office.locator("#users-room tbody tr")).to_have_count(1)
    await expect(state).to_be_focused()
    await expect(state).to_have_value("disabled")


async def test_a_key_s_secret_does_not_outlive_its_showing(office: Page, stand: Stand) -> None:
    await turn_to(office, "Keys")
    await office.get_by_role("button", name="New key").click()
    await office.get_by_label("Name").fill("ci")
    await office.get_by_label("Permits").fill("inference.chat")
    await office.get_by_role("button", name="Make key").click()
    await expect(office.locator(".a-secret code")).to_have_text(SECRET)
    assert list(stand.edge.auth.last(key_service_pb2.CreateKeyRequest).scopes) == ["inference.chat"]
    await turn_to(office, "Users")
    assert SECRET not in await office.content()
    await turn_to(office, "Keys")
    await expect(office.locator("#keys-room tbody tr").first).to_contain_text("ci")
    assert SECRET not in await office.content()


async def test_usage_is_exported(office: Page) -> None:
    await turn_to(office, "Usage")
    async with office.expect_download() as download:
        await office.get_by_role("link", name="Export as CSV").press("Enter")
    path = await (await download.value).path()
    assert path.read_text("utf-8").startswith("day,model,requests")


async def test_the_status_is_looked_at_again_in_place(office: Page, stand: Stand) -> None:
    await turn_to(office, "Status")
    row = office.locator("#status-room tbody tr").first
    await expect(row).to_contain_text("48 of 64")
    same = await office.locator("#status-room table").first.element_handle()
    assert same is not None
    stand.edge.auth.stats.queue.running = 7
    await expect(office.locator(".s-line")).to_contain_text("7 running")
    assert await same.evaluate("table => table.isConnected")


async def test_a_rollout_is_begun(office: Page, stand: Stand) -> None:
    await turn_to(office, "Rollouts")
    await office.get_by_role("button", name="New rollout").press("Enter")
    await expect(office.get_by_label("Alias").first).to_be_focused()
    await office.keyboard.type("helper")
    await office.get_by_label("Instructions of the candidate").fill("Answer in one sentence.")
    await office.get_by_label("Error rate, %").fill("5")
    assert (await shoot(office, "desktop-light-new-rollout")).stat().st_size > 0
    await office.get_by_role("button", name="Begin").click()
    await expect(office.locator("#rollouts-room")).to_contain_text(
        "helper can be asked for like a model now."
    )
    asked = stand.edge.auth.last(rollout_service_pb2.CreateRolloutRequest)
    assert [(each.name, each.weight) for each in asked.variants] == [("stable", 90), ("candidate", 10)]


async def test_names_stay_text(office: Page, stand: Stand) -> None:
    for user in stand.edge.auth.users:
        user.username = user.display_name = HOSTILE + "${document.title='owned'}{{title}}`"
    await turn_to(office, "Users")
    await expect(office.locator("#users-room tbody tr").first).to_contain_text("<script>")
    await office.locator("#users-room .a-danger").first.click()
    await expect(office.get_by_role("dialog")).to_contain_text("<script>")
    assert await office.locator("#users-room img").count() == 0
    assert await office.title() == "Parley"


async def test_every_room_can_be_drawn(office: Page) -> None:
    for room in ROOMS:
        await turn_to(office, room)
        assert (await shoot(office, f"desktop-light-{room.lower()}")).stat().st_size > 0
        assert await office.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_rooms_fit_a_phone_in_the_dark(office: Page, browser: Browser, stand: Stand) -> None:
    context = await browser.new_context(viewport=PHONE, color_scheme="dark")
    context.set_default_timeout(WAIT_MS)
    page = await log_in(await context.new_page(), stand)
    for room in ("Users", "Audit"):
        # The tabs that have no room are in a menu.
        await page.get_by_role("button", name="More tabs").click()
        await page.locator(".overflow-dropdown").get_by_text(room).click()
        await expect(page.get_by_role("heading", name=room, level=1)).to_be_visible()
        assert (await shoot(page, f"phone-dark-{room.lower()}")).stat().st_size > 0
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await context.close()
