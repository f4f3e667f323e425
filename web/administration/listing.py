"""A long list, looked at page by page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

PAGE_SIZE = 20
"""Items that a page shows."""

MAX_PAGES = 500
"""Pages that one can go back over; filters find what lies beyond."""

Item = TypeVar("Item")

Fetch = Callable[[str], Awaitable[tuple[Sequence[Item], str]]]
"""Asks for the page of a token; gives its items and the token of the page after it."""


class Listing(Generic[Item]):
    """The page that is on show. Tokens lead forward only, so those of the pages before it are kept."""

    def __init__(self, fetch: Fetch[Item]) -> None:
        """Begin at the first page, which is not asked for yet."""
        self.items: Sequence[Item] = ()
        self._fetch = fetch
        self._tokens = [""]
        self._following = ""

    @property
    def number(self) -> int:
        """Which page it is, from 1."""
        return len(self._tokens)

    @property
    def has_next(self) -> bool:
        """Whether there is a page after it."""
        return bool(self._following) and self.number < MAX_PAGES

    async def load(self) -> None:
        """Ask for the page as it is now.

        Raises:
            ParleyError: The platform refuses.
        """
        self.items = ()
        following = ""
        try:
            self.items, following = await self._fetch(self._tokens[-1])
        finally:
            self._following = following

    def first(self) -> None:
        """Turn to the first page."""
        del self._tokens[1:]

    def next(self) -> None:
        """Turn to the page after it, where there is one."""
        if self.has_next:
            self._tokens.append(self._following)

    def previous(self) -> None:
        """Turn to the page before it, where there is one."""
        del self._tokens[max(1, len(self._tokens) - 1) :]
