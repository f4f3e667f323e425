"""A list request's place among the pages (AIP-158)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message

from services.rpc.pages import PageTokens, page_size
from services.rpc.principal import Principal

T = TypeVar("T")


class Listing:
    """One page of a list.

    Attributes:
        after: Where the page before ended; empty for the first.
        fetched: How many rows to read: one more than are shown tells whether there is a next page.
    """

    def __init__(self, pages: PageTokens, request: Any, caller: Principal) -> None:
        """Read where the page begins.

        Args:
            pages: Makes and reads page tokens.
            request: A message with the fields `page_size` and `page_token`.
            caller: Who asks.

        Raises:
            PageTokenInvalid: The token was not made for this query and caller.
        """
        self._pages = pages
        self._request: Message = request
        self._owner = f"{caller.tenant_id}/{caller.user_id}"
        self._size = page_size(request.page_size)
        self.after = pages.decode(request.page_token, request, self._owner)
        self.fetched = self._size + 1

    def cut(
        self, rows: Sequence[T], position: Callable[[T], str], *, fits: int | None = None
    ) -> tuple[Sequence[T], str]:
        """The rows of the page, and the token of the next one, empty after the last.

        Args:
            rows: What was read, at most `fetched`.
            position: Where a row stands in the list's order.
            fits: How many rows a message can hold, one at least; None where all can be held.
        """
        size = self._size if fits is None else min(self._size, fits)
        if len(rows) <= size:
            return rows, ""
        token = self._pages.encode(position(rows[size - 1]), self._request, self._owner)
        return rows[:size], token
