"""The views are pure: the same state gives the same markup."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import grpc
import pytest

from parley.inference.v1 import chat_pb2, model_pb2
from parley.tools.v1 import tool_pb2
from parley_client.errors import ParleyError, Violation
from tests.web.scripted_edge import (
    called,
    finished,
    progressed,
    returned,
    said,
    started,
    status,
    thought,
    used,
)
from tests.web.scripts import HOSTILE, MODELS, TOOLS
from tests.web.test_answer import answer_of
from tests.web.test_markup import Reader
from web.advice import advise, alert
from web.card import seconds
from web.catalogue_view import catalogue
from web.chat_view import conversation_messages, turn_messages
from web.conversation import Conversation, Turn
from web.feedback_view import feedback
from web.status_view import status_line

ACTING = {"script", "img", "iframe", "svg", "object", "form", "input", "style", "link"}


def shown(*events: dict[str, Any]) -> list[dict[str, Any]]:
    return list(turn_messages(Turn("Go", answer_of(*events))))


def html(message: dict[str, Any]) -> str:
    return str(message["content"][0]["text"])


def test_a_question_and_its_answer() -> None:
    question, answer = shown(said("**yes**"), finished())
    assert (question["role"], answer["role"]) == ("user", "assistant")
    assert "Go" in html(question)
    assert "<strong>yes</strong>" in html(answer)


def test_reasoning_is_folded_under_its_time() -> None:
    _, running = shown(thought("hm"))
    assert running["metadata"] == {"title": "Thinking…", "status": "done"}
    _, ended, _ = shown(thought("hm"), said("a"), finished())
    assert ended["metadata"]["title"] == "Thought for 1.0 s"


def test_a_waiting_answer_says_so() -> None:
    assert "Waiting" in html(shown()[-1])


def test_a_card_shows_name_arguments_progress_and_result() -> None:
    running = html(
        shown(called("1", "calculator", '{"expression":"1+1"}'), progressed("1", "adding", 0.25))[1]
    )
    assert 'value="0.250"' in running
    assert "adding" in running
    done = html(
        shown(called("1", "calculator", "{}"), progressed("1", "x"), returned("1", "calculator", "2"))[1]
    )
    assert "progress" not in done
    assert "12 ms" in done
    assert "Result" in done


def test_a_share_that_cannot_be_told_has_no_value() -> None:
    card = html(shown(called("1", "calculator", "{}"), progressed("1", ""))[1])
    assert "<progress" in card
    assert "value=" not in card


def test_a_failed_call_says_what_to_do() -> None:
    error = status(grpc.StatusCode.NOT_FOUND, "There is no file x.", "FILE_NOT_FOUND", path="x")
    card = html(shown(called("1", "file_read", "{}"), returned("1", "file_read", "{}", error))[1])
    assert "There is no file x." in card
    assert "Look up the name" in card


@pytest.mark.parametrize(
    "reason",
    [value for value in chat_pb2.FinishReason.values() if value > chat_pb2.FINISH_REASON_STOP and value < 12],
)
def test_every_early_end_is_explained(reason: chat_pb2.FinishReason) -> None:
    assert "p-note" in html(shown(said("a"), finished(reason))[-1])


def test_a_stopped_answer_keeps_what_was_said() -> None:
    answer = answer_of(said("half"))
    answer.stop(5)
    _, text, note = turn_messages(Turn("Go", answer))
    assert "half" in html(text)
    assert "Stopped." in html(note)


def test_an_error_is_told_in_the_chat() -> None:
    error = status(grpc.StatusCode.UNAVAILABLE, "The engine stopped.", "ENGINE_FAILED")
    messages = conversation_messages(Conversation("c", [Turn("Go", answer_of(finished(12, error)))]))
    assert "The engine stopped." in html(messages[-1])


def test_nothing_from_outside_becomes_markup() -> None:
    error = status(grpc.StatusCode.NOT_FOUND, HOSTILE, HOSTILE, request_id=HOSTILE)
    messages = shown(
        thought(HOSTILE),
        called("1", HOSTILE, HOSTILE),
        progressed("1", HOSTILE),
        said(HOSTILE),
        called("2", HOSTILE, HOSTILE),
        returned("2", HOSTILE, HOSTILE, error),
        finished(12, error),
    )
    tool = tool_pb2.Tool(name=HOSTILE, description=HOSTILE, permission=HOSTILE)
    tool.parameters_schema = (
        '{"properties": {"<b>": {"type": "<b>", "description": "<b>", "default": "<b>"}}}'
    )
    drawn = [html(message) for message in messages]
    drawn += [catalogue([tool]), status_line(model_pb2.Model(name=HOSTILE), None)]
    tags = set().union(*(Reader(text).tags for text in drawn))
    assert not tags & ACTING
    assert "b" not in tags


@pytest.mark.parametrize(
    ("value", "text"), [(0.0124, "12 ms"), (1.44, "1.4 s"), (59.94, "59.9 s"), (125, "2 min 5 s")]
)
def test_times_are_told_for_people(value: float, text: str) -> None:
    assert seconds(value) == text


def test_the_status_line_tells_the_last_answer() -> None:
    answer = answer_of(said("a"), said("b"), used(142, 58, cached=16), finished())
    line = Reader(status_line(MODELS[0], answer)).text
    assert "parley-demo is ready · 2,048 tokens of context" in line
    assert "142 tokens in (16 cached)" in line
    assert "58 tokens/s" in line
    assert "first token after 1.0 s" in line


def test_the_status_line_without_a_model() -> None:
    assert "no model" in status_line(None, None)


def test_the_catalogue_tells_required_from_optional() -> None:
    text = Reader(catalogue(TOOLS)).text
    assert text.index("Files") < text.index("Mathematics") < text.index("Utilities")
    assert "data required" in text
    assert 'list of "mean" or "median" or "mode"' in text
    assert 'default "UTC"' in text
    assert "needs tools.math.calculator" in text


@pytest.mark.parametrize(
    "schema", ["", "no json", "[]", '{"properties": 3}', '{"required": 3}', "[" * 100_000]
)
def test_a_schema_that_cannot_be_read_shows_no_parameters(schema: str) -> None:
    assert "Takes no parameters" in catalogue([tool_pb2.Tool(name="x", parameters_schema=schema)])


def test_a_tool_that_is_off_says_why() -> None:
    text = catalogue([tool_pb2.Tool(name="x", unavailable="No <source> is configured.")])
    assert "Cannot be called now.</strong> No &lt;source&gt; is configured." in text
    assert "Cannot be called" not in catalogue([tool_pb2.Tool(name="x")])


def test_odd_types_are_told_in_words() -> None:
    schema = '{"properties": {"a": {"type": ["string", "integer"]}, "b": {}, "c": 5, "d": {"type": "array"}}}'
    text = catalogue([tool_pb2.Tool(name="x", parameters_schema=schema)])
    assert "string or integer" in text
    assert "any" in text
    assert "array" in text


def test_an_empty_catalogue_says_whom_to_ask() -> None:
    assert "Ask an administrator" in catalogue([])


def test_advice_after_the_end_of_a_session_is_to_log_in() -> None:
    advice = advise(ParleyError(grpc.StatusCode.UNAUTHENTICATED, "x", reason="REFRESH_TOKEN_INVALID"))
    assert advice.log_in
    assert 'href="login"' in alert(ParleyError(grpc.StatusCode.UNAUTHENTICATED, "no token"))


def test_wrong_credentials_are_no_ended_session() -> None:
    assert not advise(ParleyError(grpc.StatusCode.UNAUTHENTICATED, "x", reason="CREDENTIALS_INVALID")).log_in


def test_advice_names_fields_delays_and_requests() -> None:
    broken = ParleyError(grpc.StatusCode.INVALID_ARGUMENT, "x", violations=(Violation("model", "is wrong"),))
    assert advise(broken).todo == "model: is wrong."
    late = ParleyError(grpc.StatusCode.UNAVAILABLE, "x", reason="MODEL_NOT_READY")
    late.retry_after = timedelta(seconds=2)
    assert advise(late).todo.endswith("Try again in 2 s.")
    ours = ParleyError(grpc.StatusCode.INTERNAL, "x", reason="INTERNAL", metadata={"request_id": "r1"})
    assert advise(ours).reason == "INTERNAL · r1"


def test_thumbs_stand_under_what_a_variant_answered_and_under_nothing_else() -> None:
    tried = answer_of(started(variant="brief"), said("Hi"), finished())
    assert 'aria-pressed="false" aria-label="Good answer"' in feedback(tried)
    tried.is_good = True
    assert 'aria-pressed="true" aria-label="Good answer"' in feedback(tried)
    assert Reader(feedback(tried)).tags.isdisjoint(ACTING)
    others = [
        answer_of(started(), said("Hi"), finished()),
        answer_of(started(variant="brief"), said("Hi")),
        answer_of(started(variant="brief"), finished()),
    ]
    assert [feedback(each) for each in (None, *others)] == [""] * 4
