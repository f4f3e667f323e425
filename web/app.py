"""The page's web application: the gate, the login, and Gradio behind them."""

from __future__ import annotations

import gradio as gr
from fastapi import FastAPI
from starlette.middleware import Middleware

from web.administration.export import export_router
from web.conversations.export import conversations_router
from web.edge import Edge
from web.gate import Gate
from web.login import login_router
from web.page import STATIC_PATH, build_page
from web.password import password_router
from web.pictures.files import pictures_router
from web.seats import Seats
from web.session import SessionStore
from web.theme import parley_theme

STYLES = ("tokens.css", "page.css", "administration.css", "playground.css", "images.css")
SCRIPTS = ("page.js", "administration.js", "images.js")


def build_app(edge: Edge, store: SessionStore) -> FastAPI:
    """The application, without its server."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, middleware=[Middleware(Gate, store=store)])
    app.include_router(login_router(edge, store))
    app.include_router(password_router(store))
    app.include_router(export_router(store))
    app.include_router(conversations_router(store))
    app.include_router(pictures_router(store))
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        build_page(Seats(store)),
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=1,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        favicon_path=str(STATIC_PATH / "favicon.png"),
        theme=parley_theme(),
        css_paths=[STATIC_PATH / name for name in STYLES],
        head="".join(f"<script>{(STATIC_PATH / name).read_text('utf-8')}</script>" for name in SCRIPTS),
    )
    return mounted
