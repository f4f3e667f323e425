"""Whatever a body holds, it is read or refused with a reason: nothing that it says is a fault of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.inference.openai_compat.chat_requests import ChatReader
from services.inference.openai_compat.checking import Checker
from services.inference.openai_compat.completion_requests import CompletionReader
from services.inference.openai_compat.parameters import CHAT_COMPLETION, COMPLETION, RESPONSE, Served
from services.inference.openai_compat.request_models import RequestModels
from services.inference.openai_compat.response_requests import ResponseReader
from services.inference.translation import requests as translate
from services.rpc.errors import ServiceError

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

CHECKER = Checker()
WORDS = st.sampled_from(
    [
        "function",
        "text",
        "json_schema",
        "json_object",
        "user",
        "assistant",
        "tool",
        "auto",
        "required",
        "image_url",
        "input_image",
        "data:image/png;base64,aGk=",
        "a",
        "",
    ]
)
KEYS = st.sampled_from(
    [
        "type",
        "role",
        "content",
        "text",
        "name",
        "function",
        "parameters",
        "id",
        "tool_calls",
        "arguments",
        "tool_call_id",
        "call_id",
        "output",
        "format",
        "schema",
        "json_schema",
        "regex",
        "choice",
        "server_tools",
        "names",
        "limits",
        "max_duration",
        "max_event_delay",
        "image_url",
        "url",
        "detail",
    ]
)
NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False), st.sampled_from([0, 1, -1, 2**31, 2**63]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, WORDS, st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=12,
)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": WORDS}, optional={"content": VALUES, "tool_calls": VALUES}), max_size=3
)
GOOD = st.just([{"role": "user", "content": "Hi"}])


def bodies(served: Served, asked: str) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies with any of the fields, each with any value; what is asked is often good."""
    fields = dict.fromkeys(sorted(served.fields - {asked}), VALUES)
    return st.fixed_dictionaries({asked: st.one_of(GOOD, st.just("Hi"), MESSAGES, VALUES)}, optional=fields)


SURFACES: list[tuple[Any, Served, str, Callable[[Any], object]]] = [
    (ChatReader, CHAT_COMPLETION, "messages", translate.chat_order),
    (CompletionReader, COMPLETION, "prompt", translate.completion_order),
    (ResponseReader, RESPONSE, "input", translate.chat_order),
]


@pytest.mark.parametrize(("reader", "served", "asked", "order"), SURFACES)
def test_any_body_is_read_or_refused(
    reader: Any, served: Served, asked: str, order: Callable[[Any], object]
) -> None:
    outcomes, tried = {"read": 0, "refused": 0}, 0

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(bodies(served, asked))
    def holds(body: dict[str, Any]) -> None:
        nonlocal tried
        tried += 1
        try:
            order(asyncio.run(reader(RequestModels(), CHECKER).read(body)).request)
            outcomes["read"] += 1
        except ServiceError as error:
            outcomes["refused"] += error.reason_name() not in ("INTERNAL", "INVALID_REQUEST")

    holds()
    assert all(outcomes.values()), outcomes
    assert sum(outcomes.values()) == tried
