"""What the page's controls do. Each handler finds its session by the request's cookie."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from html import escape
from typing import Any

import gradio as gr

from parley_client.client import Client
from parley_client.errors import ParleyError
from web.administration.fields import Fields
from web.advice import alert
from web.answer import Answer, Pace
from web.approval_view import approvals
from web.catalogue_view import catalogue
from web.chat_view import conversation_messages
from web.conversation import MAX_QUESTION_CHARACTERS, Conversation
from web.conversations.desk import ConversationsDesk
from web.feedback_view import feedback
from web.pictures.rules import refusal as refusal_of_pictures
from web.pictures.view import attachments
from web.run import Run
from web.seats import Seat, Seats
from web.session import Session
from web.status_view import status_line

Update = Any
"""What Gradio takes for a component: a value, a component's new properties, or `gr.skip()`."""


_NOTHING = (gr.skip(),) * 6
"""For all that an answer changes: as it is."""

_VERDICTS = {"approve": True, "deny": False}
_THUMBS = {"up": True, "down": False}


class Desk:
    """The handlers of the chat."""

    def __init__(
        self, seats: Seats, conversations: ConversationsDesk, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Serve those who sit there, beside their conversations; `clock` gives seconds of a steady clock."""
        self._seats = seats
        self._conversations = conversations
        self._clock = clock

    async def open(self, request: gr.Request) -> tuple[Update, ...]:
        """Fill a page that was just loaded: chat, models, status, catalogue, account, approvals, images."""
        seat = await self._seats.seat(request)
        session, conversation = seat.session, seat.showing()
        trouble = await _learn_models(session)
        await self._seats.let_go(session, trouble)
        model = session.default_model
        return (
            conversation_messages(conversation),
            gr.Dropdown(choices=list(session.models), value=model),
            _status(session, model, conversation) if trouble is None else alert(trouble),
            await _catalogue(session.client),
            escape(session.username),
            feedback(conversation.newest),
            _pictures(seat, model),
        )

    async def ask(
        self, question: str, model: str | None, request: gr.Request
    ) -> AsyncIterator[tuple[Update, ...]]:
        """Ask in the conversation on show; gives chat, composer, side, status, approvals and images."""
        seat = await self._seats.seat(request)
        await self._conversations.meet(seat)
        conversation = seat.showing()
        refusal = _refusal(question, seat, conversation, model)
        if refusal:
            if question.strip() or seat.tab.pictures:
                gr.Warning(refusal)
            yield _NOTHING
            return
        run = self._start(seat, conversation, question, model)
        try:
            yield (
                conversation_messages(conversation),
                _composer(busy=True),
                self._conversations.picture(seat),
                gr.skip(),
                "",
                _pictures(seat, model),
            )
            asked = ""
            async for _ in run.pictures():
                # Only what is new is drawn: a button that is replaced under the pointer cannot be pressed.
                before, asked = asked, approvals(run.answer)
                question = asked if asked != before else gr.skip()
                yield _shown(seat, conversation), gr.skip(), gr.skip(), gr.skip(), question, gr.skip()
        finally:
            # The page was closed, or Gradio closed this generator: free the engine.
            await run.stop()
        yield await self._ended(seat, conversation, model)

    async def ask_example(
        self, model: str | None, chosen: gr.SelectData, request: gr.Request
    ) -> AsyncIterator[tuple[Update, ...]]:
        """Ask an example that was clicked; gives what `ask` gives."""
        async for update in self.ask(chosen.value["text"], model, request):
            yield update

    def _start(self, seat: Seat, conversation: Conversation, question: str, model: str | None) -> Run[Answer]:
        """Put the question into the conversation and begin its answer."""
        answer, client = Answer(Pace(asked_at=self._clock())), seat.session.client
        conversation.ask(question.strip(), answer, seat.tab.pictures)
        seat.tab.pictures = []

        async def make() -> None:
            """Have the conversation at the platform before anything is said in it."""
            if conversation.stored and not conversation.at_platform:
                await client.conversations.create(conversation_id=conversation.id)
                conversation.at_platform = True

        stream = client.chat(conversation.request(model or ""))
        seat.tab.run = Run(conversation.id, answer, stream, before=make, clock=self._clock)
        return seat.tab.run

    async def _ended(self, seat: Seat, conversation: Conversation, model: str | None) -> tuple[Update, ...]:
        """The last picture of an answer, and the composer ready again."""
        error = conversation.newest.error if conversation.newest is not None else None
        if error is not None:
            await self._seats.let_go(seat.session, error)
            await _learn_models(seat.session)
        side = await self._conversations.refreshed(seat)
        if seat.tab.viewing != conversation.id:
            return gr.skip(), _composer(busy=False), side, gr.skip(), gr.skip(), gr.skip()
        status = _status(seat.session, model, conversation)
        asked = feedback(conversation.newest)
        pictures = _pictures(seat, model)
        return conversation_messages(conversation), _composer(busy=False), side, status, asked, pictures

    async def stop(self, request: gr.Request) -> None:
        """End the answer that the tab is being given."""
        seat = await self._seats.seat(request)
        if seat.tab.run is not None:
            await seat.tab.run.stop()

    async def decide(self, event: gr.EventData, request: gr.Request) -> Update:
        """Approve or deny a call that waits, or say whether an answer was good; gives approvals.

        Whoever shows an answer that grows shows what comes of a decision, too: of
        two writers the slower would draw what is no longer so.
        """
        act, fields = event._data.get("act"), Fields.sent(event._data.get("fields"))
        seat = await self._seats.seat(request)
        if act in _THUMBS:
            return await self._rate(seat, fields.text("run"), good=_THUMBS[act])
        await self._approve(seat, fields.text("call"), _VERDICTS.get(act))
        return gr.skip()

    async def _rate(self, seat: Seat, run_id: str, *, good: bool) -> Update:
        """Say what the person thinks of the newest answer on show."""
        answer = seat.showing().newest
        if answer is None or answer.run_id != run_id or answer.running:
            return gr.skip()
        try:
            await seat.session.client.rollouts.give_feedback(run_id, good=good)
        except ParleyError as error:
            await self._seats.let_go(seat.session, error)
            return feedback(answer, error)
        answer.is_good = good
        return feedback(answer)

    async def _approve(self, seat: Seat, call_id: str, approve: bool | None) -> None:
        run = seat.tab.run
        waiting = run.answer.waiting(call_id) if run is not None else None
        if run is None or waiting is None or waiting.sent or approve is None:
            return
        waiting.sent, waiting.trouble = True, None
        run.changed()
        try:
            await seat.session.client.decide_approval(run.answer.run_id, call_id, approve=approve)
        except ParleyError as error:
            waiting.sent, waiting.trouble = False, error
            run.changed()
            await self._seats.let_go(seat.session, error)

    async def choose(self, model: str | None, request: gr.Request) -> tuple[Update, Update]:
        """Another model was chosen; gives status and images."""
        seat = await self._seats.seat(request)
        return _status(seat.session, model, seat.showing()), _pictures(seat, model)


async def _learn_models(session: Session) -> ParleyError | None:
    """Ask which models there are; gives what went wrong."""
    try:
        session.models = {model.name: model for model in await session.client.list_models()}
    except ParleyError as error:
        return error
    return None


async def _catalogue(client: Client) -> str:
    try:
        return catalogue(await client.list_tools())
    except ParleyError as error:
        return alert(error)


def _refusal(question: str, seat: Seat, conversation: Conversation, model: str | None) -> str:
    """Why a question cannot be asked now; empty when it can."""
    if not question.strip():
        return "There is no question. Write what you want to know."
    if len(question) > MAX_QUESTION_CHARACTERS:
        return f"A question may have {MAX_QUESTION_CHARACTERS:,} characters. Shorten it."
    if conversation.full:
        return "This conversation is full. Start a new one."
    if seat.session.answering(conversation.id):
        return "This conversation is being answered. Wait, or stop it first."
    return refusal_of_pictures(seat.session.model(model), conversation, seat.tab.pictures)


def _pictures(seat: Seat, model: str | None) -> str:
    return attachments(seat.session.model(model), seat.showing(), seat.tab.pictures)


def _status(session: Session, model: str | None, conversation: Conversation) -> str:
    return status_line(session.model(model), conversation.newest)


def _composer(*, busy: bool) -> Update:
    if busy:
        return gr.Textbox(value="", submit_btn=False, stop_btn=True)
    return gr.Textbox(submit_btn=True, stop_btn=False)


def _shown(seat: Seat, conversation: Conversation) -> Update:
    """The conversation's messages, unless the tab has turned to another one."""
    return conversation_messages(conversation) if seat.tab.viewing == conversation.id else gr.skip()
