"""Page tokens work for their own query and owner, and for nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.tools.v1 import tool_pb2
from parley.tools.v1.tool_service_pb2 import ListToolsRequest
from services.rpc.errors import PageTokenInvalid
from services.rpc.pages import PageTokens, page_size

TOKENS = PageTokens(b"k" * 32)
QUERY = ListToolsRequest(category=tool_pb2.CATEGORY_MATH)


@given(st.text(), st.text())
def test_a_token_gives_its_position_back(position: str, owner: str) -> None:
    token = TOKENS.encode(position, QUERY, owner)
    later = ListToolsRequest(category=tool_pb2.CATEGORY_MATH, page_token=token, page_size=7)
    assert TOKENS.decode(token, later, owner) == position


@pytest.mark.parametrize(
    ("query", "owner"), [(ListToolsRequest(), "ada"), (QUERY, "eve")], ids=["other query", "other owner"]
)
def test_a_token_is_good_for_nothing_else(query: ListToolsRequest, owner: str) -> None:
    token = TOKENS.encode("calculator", QUERY, "ada")
    with pytest.raises(PageTokenInvalid):
        TOKENS.decode(token, query, owner)


@given(st.text(min_size=1))
def test_junk_is_refused(junk: str) -> None:
    with pytest.raises(PageTokenInvalid):
        TOKENS.decode(junk, QUERY, "ada")


def test_the_first_page_needs_no_token() -> None:
    assert TOKENS.decode("", QUERY, "ada") == ""
    assert (page_size(0), page_size(5)) == (100, 5)
