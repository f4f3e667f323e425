"""Starts the page's server: `python -m web`."""

from __future__ import annotations

import asyncio
import os
import sys

import structlog

from services.rpc.settings import SettingsError, load
from services.rpc.telemetry import configure_logging
from web.edge import Edge, channel_to_edge
from web.environment import GRADIO_ENVIRONMENT
from web.session import SessionStore
from web.settings import WebSettings


async def serve(settings: WebSettings) -> None:
    """Serve the page until the process is told to stop."""
    edge = Edge(channel_to_edge(settings))
    # Gradio takes seconds to import, and reads its environment then: after all that may be refused.
    os.environ.update(GRADIO_ENVIRONMENT)
    from web.app import build_app
    from web.server import PageServer

    store = SessionStore(max_sessions=settings.max_sessions, idle_seconds=settings.session_idle_seconds)
    try:
        await PageServer(build_app(edge, store), settings).serve_until_stopped()
    finally:
        await store.close()
        await edge.close()


def main() -> int:
    """Give the process's exit status."""
    try:
        settings = load(WebSettings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    configure_logging("web", settings.log_level)
    try:
        asyncio.run(serve(settings))
    except OSError as error:
        structlog.get_logger().error("cannot serve", error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
