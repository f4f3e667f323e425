"""Who sits in front of the page: found by the request's cookie, for every handler."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from parley_client.errors import ParleyError
from web.advice import advise
from web.conversation import Conversation
from web.gate import session_of
from web.session import Session, SessionStore, Tab

LOGGED_OUT = "You are logged out. Reload the page to log in."


@dataclass(frozen=True)
class Seat:
    """A login, and which of its tabs."""

    session: Session
    tab: Tab

    def showing(self) -> Conversation:
        """The conversation that the tab shows; from now on the newest, where it showed none."""
        conversation = self.session.conversation(self.tab.viewing or None)
        self.tab.viewing = conversation.id
        return conversation


class Seats:
    """The seats of a store's sessions."""

    def __init__(self, store: SessionStore) -> None:
        """Seat the sessions of `store`."""
        self._store = store

    async def seat(self, request: gr.Request) -> Seat:
        """Who sits in front of the page.

        Raises:
            gr.Error: Nobody who is logged in.
        """
        session = self._session(request)
        if session is not None and request.session_hash:
            tab = await self._store.tab(session, request.session_hash)
            if tab is not None:
                return Seat(session, tab)
        raise gr.Error(LOGGED_OUT, print_exception=False)

    async def leave(self, request: gr.Request) -> None:
        """The tab was closed."""
        session = self._session(request)
        if session is not None and request.session_hash:
            await self._store.close_tab(session, request.session_hash)

    async def let_go(self, session: Session, trouble: ParleyError | None) -> None:
        """End a session whose tokens the platform refuses, so that the login can begin another."""
        if trouble is not None and advise(trouble).log_in:
            await self._store.end(session.id)

    def _session(self, request: gr.Request) -> Session | None:
        return None if request.request is None else session_of(self._store, request.request.scope)
