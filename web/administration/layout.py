"""The tabs of the administration in the page."""

from __future__ import annotations

import gradio as gr

from web.administration.desk import AdministrationDesk
from web.administration.rooms import ROOMS

_ON_LOAD = "parleyRoom(element, props, (data) => trigger('submit', data), watch)"


def room_html(element_id: str | None = None, classes: str | None = "room") -> gr.HTML:
    """Where a room, or what works as one, is drawn. Its `submit` tells what people do there.

    The page's script puts the value in place, whole: Gradio would mend what
    stands there, and leave what was typed into one form in the next.
    """
    return gr.HTML(
        html_template="",
        js_on_load=_ON_LOAD,
        elem_id=element_id,
        elem_classes=classes,
        apply_default_css=False,
    )


def build_rooms(desk: AdministrationDesk, playground: gr.Tab) -> list[gr.Tab]:
    """Add a tab for each room; gives what `AdministrationDesk.open` shows or hides. Call it among tabs."""
    tabs = [playground]
    for room in ROOMS:
        with gr.Tab(room.label, id=room.name, elem_id=f"{room.name}-room", visible=False) as tab:
            shown = room_html()
        tabs.append(tab)
        tab.select(desk.entering(room), None, [shown], show_progress="hidden", api_visibility="private")
        shown.submit(desk.acting(room), None, [shown], show_progress="hidden", api_visibility="private")
    return tabs
