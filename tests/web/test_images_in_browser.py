"""Images of questions in real Chromium: what only a browser can show."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, FilePayload, Page, expect

from parley.inference.v1 import model_pb2
from tests.web.conftest import BROWSER, WAIT_MS, Stand, log_in, shoot
from tests.web.pictures.made import file, seeing
from tests.web.scripted_edge import ScriptedEdge, finished, said, started, used
from tests.web.scripts import MODELS

pytestmark = BROWSER

QUESTION = "What do you see?"

# Files as a paste, or a drop, brings them.
_HAND_OVER = """([kind, place, name, media, data]) => {
  const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
  const held = new DataTransfer();
  held.items.add(new File([bytes], name, { type: media }));
  const Kind = kind === "paste" ? ClipboardEvent : DragEvent;
  const event = new Kind(kind, { bubbles: true, cancelable: true, clipboardData: held, dataTransfer: held });
  document.querySelector(place).dispatchEvent(event);
}"""


async def looks(edge: ScriptedEdge) -> AsyncIterator[dict[str, Any]]:
    """Says what it sees."""
    yield started()
    yield said("One red and one blue picture.")
    yield used()
    yield finished()


@pytest_asyncio.fixture(loop_scope="session")
async def sighted(stand: Stand) -> AsyncIterator[Stand]:
    """A platform with a model that takes images and one that does not."""
    stand.edge.scripts[QUESTION] = looks
    blind = model_pb2.Model(name="blind", state=model_pb2.MODEL_STATE_READY)
    stand.edge.models = [seeing(), blind]
    stand.edge.permissions = ("inference.conversations.*",)
    yield stand
    stand.edge.models, stand.edge.permissions = MODELS, ()


def payload(name: str, data: bytes, media_type: str = "image/png") -> FilePayload:
    return FilePayload(name=name, mimeType=media_type, buffer=data)


async def choose(page: Page, *files: FilePayload) -> None:
    """Choose files by keyboard."""
    async with page.expect_file_chooser() as chooser:
        await page.get_by_role("button", name="Add images").press("Enter")
    await (await chooser.value).set_files(files)


async def hand_over(page: Page, kind: str, place: str, name: str, data: bytes) -> None:
    encoded = base64.b64encode(data).decode()
    await page.evaluate(_HAND_OVER, [kind, place, name, "image/png", encoded])


async def send(page: Page) -> None:
    box = page.get_by_label("Your question")
    await box.fill(QUESTION)
    await box.press("Enter")


async def test_images_are_chosen_pasted_dropped_removed_asked_about_and_read_again(
    context: BrowserContext, sighted: Stand
) -> None:
    page = await log_in(await context.new_page(), sighted)
    room, chat = page.locator("#images"), page.locator("#chat")
    await expect(room).to_contain_text("GIF, JPEG, PNG or WebP, 3 at most, 98 KiB and 1 megapixels each.")
    broken, wide = payload("broken.png", file()[:40]), payload("wide.png", file(size=(2000, 600)))
    await choose(page, payload("red.png", file()), payload("notes.txt", b"x", "text/plain"), broken, wide)
    faults = room.get_by_role("alert").locator("p")
    await expect(faults).to_have_text(
        [
            "notes.txt is no GIF, JPEG, PNG or WebP.",
            "broken.png is broken, or no image.",
            "wide.png has 1.2 megapixels; an image may have 1.",
        ]
    )
    await hand_over(page, "paste", "#composer textarea", "blue.png", file("blue"))
    await expect(room.get_by_role("listitem")).to_have_count(2)
    await hand_over(page, "drop", "#chat", "green.png", file("green"))
    await expect(room.get_by_role("img", name="green.png")).to_be_visible()
    await shoot(page, "desktop-light-images")
    await room.get_by_role("button", name="Remove green.png").press("Enter")
    await expect(room.get_by_role("listitem")).to_have_count(2)
    await expect(room.get_by_role("button", name="Add images")).to_be_focused()
    await send(page)
    await expect(chat).to_contain_text("One red and one blue picture.")
    await expect(room.get_by_role("listitem")).to_have_count(0)
    (message,) = sighted.edge.requests[-1].messages
    assert [part.image.data for part in message.content[:-1]] == [file(), file("blue")]
    await expect(chat.get_by_role("img", name="blue.png")).to_have_js_property("naturalWidth", 64)
    await page.reload()
    await page.get_by_role("button", name="New conversation").click()
    await page.locator(".c-open", has_text=QUESTION).first.click()
    await expect(chat.get_by_role("img")).to_have_count(2)
    await expect(chat.get_by_role("img").last).to_have_js_property("naturalWidth", 64)


async def test_a_model_that_takes_no_images_says_so_on_a_dark_phone(browser: Browser, sighted: Stand) -> None:
    size = {"width": 390, "height": 844}
    context = await browser.new_context(viewport=size, color_scheme="dark", has_touch=True)
    context.set_default_timeout(WAIT_MS)
    page = await log_in(await context.new_page(), sighted)
    room = page.locator("#images")
    await choose(page, payload("red.png", file()), payload("a photograph with a long name.png", file("blue")))
    await expect(room.get_by_role("listitem")).to_have_count(2)
    await shoot(page, "phone-dark-images")
    await page.get_by_label("Model").click()
    await page.get_by_role("option", name="blind").click()
    await expect(room.get_by_role("alert")).to_have_text(
        "blind takes no images. Remove the images, or choose another model."
    )
    await expect(room.get_by_role("button", name="Add images")).to_be_disabled()
    asked = len(sighted.edge.requests)
    await send(page)
    await expect(page.locator(".toast-body")).to_contain_text("blind takes no images.")
    await shoot(page, "phone-dark-images-off")
    assert len(sighted.edge.requests) == asked
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await context.close()
