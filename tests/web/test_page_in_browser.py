"""The page in real Chromium."""

from __future__ import annotations

import asyncio

import grpc
from playwright.async_api import BrowserContext, Page, expect

from parley.inference.v1 import chat_pb2, message_pb2, rollout_service_pb2
from tests.web.conftest import BROWSER, Stand, ask, log_in, shoot
from tests.web.scripted_edge import PASSWORD, RUN_ID, status

pytestmark = BROWSER

CANCEL_SECONDS = 10


async def test_a_wrong_password_is_refused_and_a_right_one_is_not(
    context: BrowserContext, stand: Stand
) -> None:
    page = await context.new_page()
    await page.goto(stand.url)
    await expect(page).to_have_url(f"{stand.url}login")
    await page.get_by_label("User name").fill("ada")
    await page.get_by_label("Password").fill("wrong")
    await page.get_by_label("Password").press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("CREDENTIALS_INVALID")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_label("Password").press("Enter")
    await expect(page.locator("#account")).to_contain_text("ada")
    assert PASSWORD not in page.url


async def test_tokens_never_reach_the_browser(page: Page, context: BrowserContext, stand: Stand) -> None:
    seen: list[str] = []
    page.on("request", lambda request: seen.append(f"{request.url} {request.post_data} {request.headers}"))
    await ask(page, "What is 17 * 23?")
    await expect(page.locator("#chat")).to_contain_text("391.")
    seen += [str(await context.cookies()), await page.content()]
    seen.append(await page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})"))
    assert not [text for text in seen if "access-" in text or "refresh-" in text]
    assert [cookie["httpOnly"] for cookie in await context.cookies()] == [True]


async def test_nothing_outside_is_asked(context: BrowserContext, stand: Stand) -> None:
    page = await context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await log_in(page, stand)
    await ask(page, "Attack")
    await expect(page.locator("#chat")).to_contain_text("spy")
    assert asked
    assert not [url for url in asked if not url.startswith((stand.url, "data:"))]


async def test_a_question_is_answered_with_a_tool_card_and_folded_reasoning(page: Page) -> None:
    await ask(page, "What is 17 * 23?")
    await expect(page.locator("#chat")).to_contain_text("17 * 23 = 391.")
    card = page.locator(".p-tool")
    await expect(card).to_contain_text("calculator")
    await expect(card).to_contain_text('"expression": "17 * 23"')
    await expect(card).to_contain_text('"result": 391')
    await expect(page.locator("#status")).to_contain_text("58 out")
    await expect(page.get_by_text("The question is a product")).to_have_count(0)
    reasoning = page.get_by_role("button", name="Reasoning")
    await reasoning.focus()
    await reasoning.press("Enter")
    await expect(page.get_by_text("The question is a product")).to_be_visible()


async def test_text_appears_piece_by_piece(page: Page, stand: Stand) -> None:
    await ask(page, "Count")
    answer = page.locator(".bot-row").last
    await expect(answer.locator(".p-waiting")).to_be_visible()
    for shown in ("one", "one two", "one two three"):
        stand.edge.go.release()
        await expect(answer).to_have_text(shown, use_inner_text=True)
    stand.edge.go.release()
    await expect(page.get_by_role("button", name="Send")).to_be_visible()


async def test_a_running_tool_shows_its_progress(page: Page, stand: Stand) -> None:
    await ask(page, "Mean?")
    card = page.locator(".p-tool")
    await expect(card).to_contain_text("reading six numbers")
    await expect(card.get_by_role("progressbar")).to_have_attribute("value", "0.400")
    stand.edge.go.release()
    await expect(card).to_contain_text('"median": 15.5')
    await expect(card.get_by_role("progressbar")).to_have_count(0)


async def test_dangerous_calls_wait_for_the_person(page: Page, stand: Stand) -> None:
    await ask(page, "Run two programs")
    cards, chat = page.locator(".p-approval"), page.locator("#chat")
    await expect(cards).to_have_count(2)
    await expect(cards.first).to_contain_text('"code": "print(1)"')
    await expect(cards.first).to_contain_text("dangerous")
    await expect(cards.last).to_contain_text("<script>")
    await expect(chat.locator(".p-tool.p-asking")).to_have_count(2)
    await shoot(page, "desktop-light-approval")
    await cards.last.get_by_role("button", name="Deny python_run").click()
    await expect(cards).to_have_count(1)
    await expect(chat).to_contain_text("Denied: the tool did not run. not today")
    await cards.first.get_by_role("button", name="Approve python_run").press("Enter")
    await expect(cards).to_have_count(0)
    await expect(chat).to_contain_text("Done with both.")
    await expect(chat.locator(".p-tool.p-done")).to_contain_text("Approved.")
    request = stand.edge.requests[-1]
    assert request.approvals.policy == chat_pb2.APPROVAL_POLICY_ASK
    assert await page.title() == "Parley"


async def test_what_a_variant_answered_can_be_called_bad(page: Page, stand: Stand) -> None:
    await ask(page, "Try it")
    thumbs = page.locator("#approvals")
    stand.edge.refusal = status(grpc.StatusCode.NOT_FOUND, "It is too long ago.", "RUN_NOT_FOUND")
    await thumbs.get_by_role("button", name="Bad answer").click()
    await expect(thumbs.get_by_role("alert")).to_contain_text("RUN_NOT_FOUND")
    stand.edge.refusal = None
    await thumbs.get_by_role("button", name="Bad answer").click()
    await expect(thumbs.get_by_role("status")).to_contain_text("You found this answer bad.")
    (verdict,) = stand.edge.verdicts
    assert (verdict.run_id, verdict.verdict) == (RUN_ID, rollout_service_pb2.FEEDBACK_VERDICT_DOWN)
    await page.reload()
    await expect(thumbs.get_by_role("status")).to_contain_text("You found this answer bad.")


async def test_what_waits_scrolls_and_never_lies_under_the_composer(page: Page, stand: Stand) -> None:
    await page.set_viewport_size({"width": 1280, "height": 560})
    await ask(page, "Run two programs")
    await expect(page.locator(".p-approval")).to_have_count(2)
    waiting = await page.locator("#approvals").bounding_box()
    composer = await page.locator("#composer").bounding_box()
    assert waiting is not None
    assert composer is not None
    assert waiting["y"] + waiting["height"] <= composer["y"]
    await page.get_by_role("button", name="Deny python_run").last.click()
    await expect(page.locator(".p-approval")).to_have_count(1)
    await page.get_by_role("button", name="Stop").click()
    async with asyncio.timeout(CANCEL_SECONDS):
        assert await stand.edge.cancelled.get() == "Run two programs"


async def test_a_refused_decision_can_be_made_again(page: Page, stand: Stand) -> None:
    stand.edge.refusal = status(grpc.StatusCode.PERMISSION_DENIED, "Not you.", "PERMISSION_MISSING")
    await ask(page, "Run two programs")
    approve = page.get_by_role("button", name="Approve python_run").first
    await approve.click()
    await expect(page.locator("#approvals").get_by_role("alert")).to_contain_text("PERMISSION_MISSING")
    await expect(approve).to_be_enabled()
    stand.edge.refusal = None
    await page.get_by_role("button", name="Stop").click()
    async with asyncio.timeout(CANCEL_SECONDS):
        assert await stand.edge.cancelled.get() == "Run two programs"
    await expect(page.locator(".p-approval")).to_have_count(0)
    await expect(page.locator("#chat .p-tool").first).to_contain_text("Not decided.")


async def test_stop_ends_the_call_at_the_edge(page: Page, stand: Stand) -> None:
    await ask(page, "Tell me a story")
    await expect(page.locator("#chat")).to_contain_text("Once upon a time")
    await page.get_by_role("button", name="Stop").click()
    async with asyncio.timeout(CANCEL_SECONDS):
        assert await stand.edge.cancelled.get() == "Tell me a story"
    await expect(page.locator("#chat")).to_contain_text("Stopped.")
    await expect(page.get_by_role("button", name="Send")).to_be_visible()


async def test_escape_stops_too(page: Page, stand: Stand) -> None:
    await ask(page, "Tell me a story")
    await expect(page.get_by_role("button", name="Stop")).to_be_visible()
    await page.keyboard.press("Escape")
    async with asyncio.timeout(CANCEL_SECONDS):
        assert await stand.edge.cancelled.get() == "Tell me a story"


async def test_a_closed_page_ends_the_call(page: Page, stand: Stand) -> None:
    await ask(page, "Tell me a story")
    await expect(page.locator("#chat")).to_contain_text("Once upon a time")
    await page.close()
    async with asyncio.timeout(CANCEL_SECONDS):
        assert await stand.edge.cancelled.get() == "Tell me a story"


async def test_conversations_are_kept_and_can_be_gone_back_to(page: Page, stand: Stand) -> None:
    await ask(page, "What is 17 * 23?")
    await expect(page.locator("#chat")).to_contain_text("391.")
    await page.get_by_role("button", name="New conversation").click()
    await expect(page.get_by_text("What would you like to know?")).to_be_visible()
    await ask(page, "Read notes/x.txt")
    await expect(page.locator("#chat")).to_contain_text("ENGINE_FAILED")
    entries = page.locator(".c-open")
    await expect(entries).to_have_text(["Read notes/x.txt", "What is 17 * 23?"])
    await entries.nth(1).click()
    await expect(page.locator("#chat")).to_contain_text("391.")
    await page.reload()
    await expect(entries).to_have_count(2)


async def test_the_conversation_so_far_is_told_to_the_model(page: Page, stand: Stand) -> None:
    await page.get_by_role("button", name="What is 17 * 23?").click()
    await expect(page.locator("#chat")).to_contain_text("391.")
    await ask(page, "What is 17 * 23?")
    await expect(page.locator(".p-tool")).to_have_count(2)
    roles = [message.role for message in stand.edge.requests[-1].messages]
    assert roles == [
        message_pb2.ROLE_USER,
        message_pb2.ROLE_ASSISTANT,
        message_pb2.ROLE_TOOL,
        message_pb2.ROLE_ASSISTANT,
        message_pb2.ROLE_USER,
    ]


async def test_clear_forgets_the_conversation(page: Page) -> None:
    await ask(page, "What is 17 * 23?")
    await expect(page.locator("#chat")).to_contain_text("391.")
    await page.get_by_role("button", name="Clear", exact=True).last.click()
    await expect(page.get_by_text("What would you like to know?")).to_be_visible()
    await page.reload()
    await expect(page.get_by_text("What would you like to know?")).to_be_visible()


async def test_errors_say_what_happened_and_what_to_do(page: Page) -> None:
    await ask(page, "Read notes/x.txt")
    card = page.locator(".p-tool")
    await expect(card).to_contain_text("There is no file notes/x.txt in the workspace.")
    await expect(page.get_by_role("alert").last).to_contain_text("Ask again in a moment.")
    await expect(page.get_by_role("alert").last).to_contain_text("ENGINE_FAILED")


async def test_markup_from_models_and_tools_stays_text(page: Page) -> None:
    await ask(page, "Attack")
    await expect(page.locator(".p-tool")).to_contain_text("<script>")
    await page.get_by_role("button", name="Reasoning").click()
    await expect(page.locator("#chat .thought-group")).to_contain_text("<script>")
    assert await page.locator("#chat img").count() == 0
    assert await page.title() == "Parley"


async def test_the_catalogue_lists_tools_by_category(page: Page) -> None:
    await page.get_by_role("tab", name="Tools").click()
    await expect(page.locator(".p-group h2")).to_have_text(
        [
            "Files 2",
            "Mathematics 2",
            "Databases 1",
            "Utilities 2",
        ]
    )
    entry = page.locator(".p-entry", has_text="statistics")
    await expect(entry.locator("table")).to_be_hidden()
    await entry.locator("summary").focus()
    await page.keyboard.press("Enter")
    await expect(entry.locator("tr", has_text="data")).to_contain_text("required")
    await expect(entry.locator("tr", has_text="operations")).to_contain_text("optional")
    await expect(entry.locator(".p-level")).to_have_text("safe")


async def test_another_model_can_be_chosen(page: Page, stand: Stand) -> None:
    await page.get_by_label("Model").click()
    await page.get_by_role("option", name="gpt-oss-20b").click()
    await expect(page.locator("#status")).to_contain_text("gpt-oss-20b is loading")
    await ask(page, "What is 17 * 23?")
    await expect(page.locator("#chat")).to_contain_text("391.")
    assert stand.edge.requests[-1].model == "gpt-oss-20b"


async def test_logging_out_ends_the_session(page: Page, context: BrowserContext, stand: Stand) -> None:
    await page.get_by_role("button", name="Log out").click()
    await expect(page).to_have_url(f"{stand.url}login")
    await page.goto(stand.url)
    await expect(page).to_have_url(f"{stand.url}login")
    assert await context.cookies() == []


async def test_a_session_that_ended_elsewhere_leads_to_the_login(page: Page, stand: Stand) -> None:
    await stand.store.close()
    await ask(page, "What is 17 * 23?")
    await expect(page).to_have_url(f"{stand.url}login")
    assert await page.get_by_label("Password").count() == 1


async def test_two_browsers_see_nothing_of_each_other(page: Page, stand: Stand) -> None:
    await ask(page, "What is 17 * 23?")
    await expect(page.locator("#chat")).to_contain_text("391.")
    other = await page.context.browser.new_context()  # type: ignore[union-attr]
    stranger = await log_in(await other.new_page(), stand)
    await expect(stranger.locator(".c-empty")).to_be_visible()
    assert await stranger.locator(".c-open").count() == 0
    assert await stranger.get_by_text("391").count() == 0
    await other.close()


async def test_refused_tokens_lead_back_to_the_login(page: Page, stand: Stand) -> None:
    """Whether the page still says so or is already there: the login is over for the whole browser."""
    password, link = page.get_by_label("Password"), page.get_by_role("link", name="Log in")
    stand.edge.ended = True
    try:
        await ask(page, "What is 17 * 23?")
        await expect(password.or_(link).first).to_be_visible()
    finally:
        stand.edge.ended = False
    another = await page.context.new_page()
    await another.goto(stand.url)
    await expect(another.get_by_label("Password")).to_be_visible()
    assert another.url == f"{stand.url}login"
