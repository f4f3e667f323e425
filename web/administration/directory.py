"""What ids are called."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

from parley_client.errors import ParleyError
from web.administration.visitor import Visitor

MAX_NAMES = 1000
"""Names that are remembered; the oldest is let go."""


class Directory:
    """The names of users, as far as the person may know them."""

    def __init__(self, visitor: Visitor) -> None:
        """Know nobody yet."""
        self._visitor = visitor
        self._names: OrderedDict[str, str] = OrderedDict()

    async def learn(self, user_ids: Iterable[str]) -> None:
        """Ask for the names that are not known. One that cannot be had stays an id."""
        unknown = {user_id for user_id in user_ids if user_id} - self._names.keys()
        if self._visitor.may("auth.users.read"):
            for user_id, name in await asyncio.gather(*map(self._ask, sorted(unknown))):
                self._names[user_id] = name
        while len(self._names) > MAX_NAMES:
            self._names.popitem(last=False)

    def name(self, user_id: str) -> str:
        """A user's name, or else the id."""
        return self._names.get(user_id, user_id)

    async def _ask(self, user_id: str) -> tuple[str, str]:
        try:
            return user_id, (await self._visitor.administration.get_user(user_id)).username
        except ParleyError:
            return user_id, user_id
