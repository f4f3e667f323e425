"""A room with a long list in it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from web.administration.fields import Fields
from web.administration.listing import Listing
from web.administration.room import Action, Room
from web.administration.visitor import Visitor

Item = TypeVar("Item")


class PagedRoom(Room, Generic[Item]):
    """Shows a list page by page, through a filter."""

    def __init__(self, visitor: Visitor) -> None:
        """Everything, from the first page."""
        super().__init__(visitor)
        self.listing: Listing[Item] = Listing(self.fetch)
        self.filter = Fields()

    @abstractmethod
    async def fetch(self, page_token: str) -> tuple[Sequence[Item], str]:
        """Ask for a page; gives its items and the token of the page after it.

        Raises:
            ParleyError: The platform refuses.
        """

    def actions(self) -> Mapping[str, Action]:
        """Turning pages, and choosing what is listed."""
        return {"filter": self._narrow, "next": self._next, "previous": self._previous}

    async def load(self) -> None:
        """Ask for the page on show."""
        await self.listing.load()

    def shown(self) -> Mapping[str, Any]:
        """The list, and what it is narrowed to."""
        return {"listing": self.listing, "filter": self.filter}

    async def _narrow(self, fields: Fields) -> None:
        self.filter = fields
        self.listing.first()

    async def _next(self, _fields: Fields) -> None:
        self.listing.next()

    async def _previous(self, _fields: Fields) -> None:
        self.listing.previous()
