"""A conversation as the messages of Gradio's chat. Pure: the same conversation gives the same messages."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from parley.inference.v1 import chat_pb2
from web.advice import alert
from web.answer import Answer, Call, Instructions, Part, Reasoning, Saying
from web.card import CallState, card, outcome, progress, seconds, section
from web.conversation import Conversation, Turn
from web.markup import from_json, from_markdown, from_text
from web.pictures.view import question_pictures

ChatMessage = dict[str, Any]
"""A message as `gr.Chatbot` takes it."""

NAMED_CHARACTERS = 60
"""Characters of a question by which screen readers tell what branches after it."""

_NOTES = {
    chat_pb2.FINISH_REASON_LENGTH: "Cut short: the answer reached its length limit.",
    chat_pb2.FINISH_REASON_TOOL_CALLS: "Ended: the model asked for a tool that the page does not have.",
    chat_pb2.FINISH_REASON_ROUND_LIMIT: "Ended: the model used up its rounds of tool calls.",
    chat_pb2.FINISH_REASON_CALL_LIMIT: "Ended: the model used up its tool calls.",
    chat_pb2.FINISH_REASON_TIME_LIMIT: "Ended: the answer took longer than it may.",
    chat_pb2.FINISH_REASON_BUDGET: "Ended: your token budget is empty. Ask an administrator for more.",
    chat_pb2.FINISH_REASON_CANCELLED: "Stopped.",
    chat_pb2.FINISH_REASON_DEADLINE: "Ended: the deadline passed. Ask again, or ask for less.",
    chat_pb2.FINISH_REASON_REVOKED: "Ended: your access was revoked. Log in again.",
    chat_pb2.FINISH_REASON_SLOW_READER: "Ended: the connection was too slow. Ask again.",
    chat_pb2.FINISH_REASON_TOKEN_LIMIT: "Ended: the answer used up its tokens.",
}

_OUTCOMES = {
    chat_pb2.APPROVAL_OUTCOME_APPROVED: "Approved.",
    chat_pb2.APPROVAL_OUTCOME_DENIED: "Denied: the tool did not run.",
    chat_pb2.APPROVAL_OUTCOME_LAPSED: "Nobody decided in time: the tool did not run.",
}


def conversation_messages(conversation: Conversation) -> list[ChatMessage]:
    """Everything that was asked and answered, oldest first."""
    shown = list(_earlier(conversation.earlier))
    for number, turn in enumerate(conversation.turns):
        shown.extend(turn_messages(turn))
        if conversation.stored and turn.answer.parts and not turn.answer.running:
            shown.append(_message("assistant", _branch(number, turn)))
    return shown


def turn_messages(turn: Turn) -> Iterator[ChatMessage]:
    """A question and its answer so far."""
    if turn.pictures:
        yield _message("user", question_pictures(turn.pictures))
    if turn.question:
        yield _message("user", from_text(turn.question))
    for part in turn.answer.parts:
        yield _part(part)
    yield from _ending(turn.answer)


def _earlier(count: int) -> Iterator[ChatMessage]:
    """That more was said than is shown."""
    if count:
        questions = "question is" if count == 1 else "questions are"
        note = f"{count:,} earlier {questions} not shown. Export the conversation to read everything."
        yield _message("assistant", f'<p class="p-note">{note}</p>')


def _branch(number: int, turn: Turn) -> str:
    """The way to go on otherwise from here. Gradio leaves no attribute but the class, which says where."""
    words = escape(" ".join(turn.question.split())[:NAMED_CHARACTERS])
    return (
        f'<button type="button" class="p-branch p-turn-{number}">Branch from here'
        f'<span class="a-unseen"> after: {words}</span></button>'
    )


def _part(part: Part) -> ChatMessage:
    if isinstance(part, Reasoning):
        return _reasoning(part)
    if isinstance(part, Saying):
        return _message("assistant", from_markdown(part.text))
    return _message("assistant", _card(part) if isinstance(part, Call) else _instructions(part))


def _instructions(part: Instructions) -> str:
    return (
        '<details class="p-tool"><summary><span class="p-label">Instructions</span></summary>'
        f'<div class="p-section">{from_text(part.text)}</div></details>'
    )


def _message(role: str, html: str) -> ChatMessage:
    return {"role": role, "content": [{"type": "text", "text": html}]}


def _reasoning(part: Reasoning) -> ChatMessage:
    """Reasoning, folded away under the time it took."""
    if part.started_at is None:
        title = "Thought"
    elif part.ended_at is None:
        title = "Thinking…"
    else:
        title = f"Thought for {seconds(part.ended_at - part.started_at)}"
    # Gradio unfolds what is `pending`, so that this is `done` from its first word.
    return {**_message("assistant", from_markdown(part.text)), "metadata": {"title": title, "status": "done"}}


def _card(call: Call) -> str:
    """A tool call: arguments, progress, and result or error."""
    return card(
        call.name,
        call.state,
        call.seconds,
        section("Arguments", from_json(call.arguments or "{}")),
        _approval(call),
        progress(call.state, call.fraction, call.message),
        outcome(call.result, call.error),
    )


def _approval(call: Call) -> str:
    """That a call waits for the person, or how that was decided."""
    if call.approval is None:
        return ""
    if call.approval.outcome is None:
        waits = call.state is CallState.ASKING
        return section(
            "Approval", "Waits for you, above the field for your question." if waits else "Not decided."
        )
    note = f" {escape(call.approval.note)}" if call.approval.note else ""
    return section("Approval", f"{_OUTCOMES.get(call.approval.outcome, 'Decided.')}{note}")


def _ending(answer: Answer) -> Iterator[ChatMessage]:
    """What stands under an answer: that it is awaited, why it ended, what went wrong."""
    if answer.running and not answer.parts:
        yield _message(
            "assistant", '<div class="p-waiting" role="status"><span>Waiting for the model</span></div>'
        )
    if answer.not_stored is not None:
        yield _message("assistant", f'<p class="p-note">This was not stored.</p>{alert(answer.not_stored)}')
    if answer.error is not None:
        yield _message("assistant", alert(answer.error))
        return
    note = "Stopped." if answer.stopped else _NOTES.get(answer.finish or chat_pb2.FINISH_REASON_STOP)
    if note:
        yield _message("assistant", f'<p class="p-note">{note}</p>')
