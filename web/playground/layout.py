"""The playground in the page."""

from __future__ import annotations

from typing import Any

import gradio as gr

from web.administration.layout import room_html
from web.playground.desk import PlaygroundDesk
from web.playground.room import PlaygroundRoom
from web.playground.view import NOTHING


def build_playground(desk: PlaygroundDesk) -> gr.Tab:
    """Add the tab and give it. It is seen by those whom the room lets in. Call it among tabs."""
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    tab: gr.Tab
    with gr.Tab(
        PlaygroundRoom.label, id=PlaygroundRoom.name, elem_id="playground-room", visible=False
    ) as tab:
        form = room_html()
        outcome = gr.HTML(NOTHING, elem_id="outcome", apply_default_css=False)
    tab.select(desk.enter, None, [form], **quiet)
    # `multiple`: a call can be cancelled while it is being shown.
    form.submit(desk.act, None, [form, outcome], trigger_mode="multiple", **quiet)
    return tab
