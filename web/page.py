"""The page's layout, and which control calls which handler."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from web.administration.desk import AdministrationDesk
from web.administration.layout import build_rooms, room_html
from web.conversation import MAX_QUESTION_CHARACTERS
from web.conversations.desk import ConversationsDesk
from web.desk import Desk
from web.pictures.desk import PicturesDesk
from web.playground.desk import PlaygroundDesk
from web.playground.layout import build_playground
from web.seats import Seats

EXAMPLES = (
    "What is 17 * 23?",
    "What time is it in Seoul?",
    "What are the mean and the median of 4, 8, 15, 16, 23 and 42?",
    "Which files are in my workspace?",
    "Read the file welcome.txt",
    "Hello!",
)

PLACEHOLDER = (
    '<div class="p-welcome"><h1>What would you like to know?</h1>'
    "<p>Answers are streamed. Reasoning stays folded until you open it, "
    "and every tool call shows what was asked of it and what it said.</p></div>"
)

QUEUE_SECONDS = 0.05
"""How long what somebody does may wait to be looked at."""

STATIC_PATH = Path(__file__).parent / "static"


@dataclass(frozen=True)
class Controls:
    """What a person can see and touch."""

    chat: gr.Chatbot
    composer: gr.Textbox
    conversations: gr.HTML
    model: gr.Dropdown
    begin: gr.Button
    clear: gr.Button
    status: gr.HTML
    catalogue: gr.HTML
    account: gr.HTML
    approvals: gr.HTML
    images: gr.HTML


def build_page(seats: Seats) -> gr.Blocks:
    """The whole page."""
    page: gr.Blocks
    with gr.Blocks(title="Parley", analytics_enabled=False, fill_height=True, fill_width=True) as page:
        with gr.Sidebar(width=272, elem_id="side", label="Conversations"):
            side = _side()
        with gr.Tabs(elem_id="rooms"):
            with gr.Tab("Chat", id="chat", elem_id="chat-room"):
                main = _chat()
            with gr.Tab("Tools", id="tools", elem_id="tools-room"):
                gr.HTML('<h1 class="p-title">What the model may use for you</h1>')
                catalogue = gr.HTML(elem_id="catalogue", apply_default_css=False)
            administration = AdministrationDesk(seats)
            conversations = ConversationsDesk(seats, administration)
            playground = build_playground(PlaygroundDesk(seats, administration))
            tabs = build_rooms(administration, playground)
        controls, desk = Controls(**side, **main, catalogue=catalogue), Desk(seats, conversations)
        _load(page, controls, tabs, desk, conversations, administration)
        _connect(controls, desk, PicturesDesk(seats))
        _connect_side(controls, conversations)
        page.unload(seats.leave)
    page.queue(default_concurrency_limit=None, max_size=1024, api_open=False)
    # Gradio looks for work a thousand times a second, which takes a tenth of a core while nobody is there.
    page._queue.sleep_when_free = QUEUE_SECONDS
    return page


def _side() -> dict[str, Any]:
    """The column of conversations."""
    gr.HTML('<div class="p-brand">Parley</div>', apply_default_css=False)
    begin = gr.Button("New conversation", elem_id="begin", size="md")
    conversations = room_html("conversations", classes=None)
    account = gr.HTML(html_template=_account_template(), elem_id="account", apply_default_css=False)
    return {"begin": begin, "conversations": conversations, "account": account}


def _account_template() -> str:
    """Who is logged in, and the way out: a form, since leaving changes something.

    The name comes as HTML. Gradio would escape a `{{value}}`, but reads what
    came of it as a JavaScript template, which a name could carry code into.
    """
    return (
        '<span class="p-user">${value}</span>'
        '<a class="p-link" href="password">Password</a>'
        '<form method="post" action="logout"><button class="p-link" type="submit">Log out</button></form>'
    )


def _chat() -> dict[str, Any]:
    """The conversation on show, and where to write."""
    with gr.Row(elem_id="bar"):
        model = gr.Dropdown([], label="Model", elem_id="model", filterable=False, container=False)
        clear = gr.Button("Clear", elem_id="clear", size="sm", scale=0, min_width=72)
    chat = gr.Chatbot(
        elem_id="chat",
        label="Conversation",
        show_label=False,
        container=False,
        height="auto",
        layout="panel",
        placeholder=PLACEHOLDER,
        examples=[{"text": example} for example in EXAMPLES],
        buttons=[],
        latex_delimiters=[],
        # The server has rendered and escaped everything (`web.markup`); this is the second wall.
        render_markdown=False,
        sanitize_html=True,
        allow_tags=False,
        scale=1,
    )
    approvals = room_html("approvals", classes=None)
    images = room_html("images", classes=None)
    composer = gr.Textbox(
        elem_id="composer",
        placeholder="Ask anything",
        label="Your question",
        show_label=False,
        container=False,
        submit_btn=True,
        autofocus=True,
        max_lines=8,
        max_length=MAX_QUESTION_CHARACTERS,
    )
    status = gr.HTML(elem_id="status", apply_default_css=False)
    return {
        "model": model,
        "clear": clear,
        "chat": chat,
        "composer": composer,
        "status": status,
        "approvals": approvals,
        "images": images,
    }


def _load(
    page: gr.Blocks,
    on: Controls,
    tabs: list[gr.Tab],
    desk: Desk,
    conversations: ConversationsDesk,
    administration: AdministrationDesk,
) -> None:
    """Fill a page that was just loaded, by one event.

    With two at once a page was seen, on a busy machine, to wait for the answer
    to one of them for as long as anybody looked.
    """

    async def known(request: gr.Request) -> tuple[Any, ...]:
        """What depends on who the person is."""
        seen = await administration.open(request)
        return (*await conversations.open(request), *seen)

    async def fill(request: gr.Request) -> tuple[Any, ...]:
        shown, theirs = await asyncio.gather(desk.open(request), known(request))
        return (*shown, *theirs)

    filled = [on.chat, on.model, on.status, on.catalogue, on.account, on.approvals, on.images]
    page.load(fill, None, [*filled, on.conversations, on.clear, *tabs], **_QUIET)


_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""Of every event: none of them is an API of its own."""


def _connect(on: Controls, desk: Desk, pictures: PicturesDesk) -> None:
    """Tie the controls of the chat to their handlers."""
    answered = [on.chat, on.composer, on.conversations, on.status, on.approvals, on.images]
    on.composer.submit(desk.ask, [on.composer, on.model], answered, **_QUIET)
    on.composer.stop(desk.stop, None, None, queue=False, **_QUIET)
    on.chat.example_select(desk.ask_example, [on.model], answered, **_QUIET)
    on.approvals.submit(desk.decide, None, [on.approvals], trigger_mode="multiple", **_QUIET)
    on.images.submit(pictures.act, [on.model], [on.images], trigger_mode="multiple", **_QUIET)
    on.model.input(desk.choose, [on.model], [on.status, on.images], **_QUIET)


def _connect_side(on: Controls, desk: ConversationsDesk) -> None:
    """Tie the conversations, and what begins and clears them, to their handlers."""
    turned = [on.chat, on.conversations, on.status, on.approvals, on.clear, on.images]
    on.begin.click(desk.begin, [on.model], turned, **_QUIET)
    on.clear.click(desk.clear, [on.model], turned, **_QUIET)
    on.conversations.submit(desk.act, [on.model], turned, **_QUIET)
