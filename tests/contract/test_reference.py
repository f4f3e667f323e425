"""The API reference tells all of the contracts, and its links lead somewhere."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from google.protobuf.descriptor import Descriptor

from docs.generate import reference_pages
from docs.reference import anchor, reached, short
from docs.reference_rules import field_rules, message_rules
from parley.inference.v1 import chat_pb2
from parley.tools.v1 import tool_service_pb2
from services.auth.descriptors import CONTRACTS

SERVICES = [service for module in CONTRACTS for service in module.DESCRIPTOR.services_by_name.values()]


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return reference_pages()


def test_every_method_and_type_of_the_contracts_is_described_once(pages: dict[str, str]) -> None:
    types = {each for service in SERVICES for each in reached(service)}
    headings = Counter(name for text in pages.values() for name in re.findall(r"^### (\S+)$", text, re.M))
    wanted = Counter(short(each) for each in types)
    wanted.update(method.name for service in SERVICES for method in service.methods)
    assert headings == wanted


def test_every_field_has_its_row(pages: dict[str, str]) -> None:
    rows = Counter(name for text in pages.values() for name in re.findall(r"^\| `(\w+)` \| ", text, re.M))
    fields = Counter(
        field.name
        for message in {each for service in SERVICES for each in reached(service)}
        if isinstance(message, Descriptor)
        for field in message.fields
    )
    assert {name: count for name, count in fields.items() if rows[name] < count} == {}


def test_every_link_leads_to_a_heading(pages: dict[str, str]) -> None:
    headings = {name: _anchors(text) for name, text in pages.items()}
    for name, text in pages.items():
        for page, place in re.findall(r"\]\(([\w.]*)#?([\w-]*)\)", text):
            assert place in headings[page or name] or (page in headings and not place), (name, page, place)


def test_no_two_headings_of_a_page_are_alike(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        found = re.findall(r"^#+ (.*)$", text, re.M)
        assert len(found) == len(_anchors(text)), (name, Counter(found).most_common(1))


def test_rules_are_told_in_words() -> None:
    request = chat_pb2.ChatRequest.DESCRIPTOR
    assert field_rules(request.fields_by_name["messages"]) == "at least 1 item; at most 4,096 items"
    assert field_rules(request.fields_by_name["resume_window"]) == "at most 600 s; at least 0 s"
    assert "limits.max_output_tokens must leave each choice a token" in message_rules(request)
    call = tool_service_pb2.CancelCall.DESCRIPTOR.fields_by_name["call_id"]
    assert field_rules(call) == "at least 1 character; at most 128 characters"


def test_a_page_tells_how_a_method_is_called(pages: dict[str, str]) -> None:
    told = pages["inference.v1.InferenceService.md"].partition("### Chat\n")[2].partition("###")[0]
    for row in (
        "| Takes | [`ChatRequest`](#chatrequest) |",
        "| Gives | stream of [`ChatResponse`](#chatresponse) |",
        "| Needs | `inference.chat` |",
        "| HTTP | `POST /api/v1/chat` |",
    ):
        assert row in told
    assert all(text.isprintable() for page in pages.values() for text in page.split("\n"))


def _anchors(text: str) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.M)}
