"""Usage: tokens, requests and cost, by day and by who or what used them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from parley.auth.v1.key_service_pb2 import ListKeysRequest
from parley.auth.v1.quota_pb2 import QuotaDimension, QuotaUse
from parley.auth.v1.usage_service_pb2 import (
    USAGE_DIMENSION_DAY,
    USAGE_DIMENSION_KEY,
    USAGE_DIMENSION_MODEL,
    USAGE_DIMENSION_USER,
    QueryUsageRequest,
    UsageDimension,
    UsageQuery,
    UsageSum,
)
from web.administration.directory import Directory
from web.administration.fields import Fields
from web.administration.keys import EVERYONE
from web.administration.money import price_text
from web.administration.room import Action, Room
from web.administration.usage_figures import days_until, plots, rows
from web.administration.visitor import Visitor

PAGE_SIZE = 1000
MAX_PAGES = 10
"""Pages of sums that a view is made of; the file has them all."""

PERIODS = {"7": "7 days", "30": "30 days", "90": "90 days"}
DEFAULT_PERIOD = "30"

_SPLITS: Mapping[str, UsageDimension.ValueType] = {
    "model": USAGE_DIMENSION_MODEL,
    "key": USAGE_DIMENSION_KEY,
    "user": USAGE_DIMENSION_USER,
}
_ALL = "all"


class UsageRoom(Room):
    """What was used, and what is left. Everyone sees their own."""

    name = "usage"
    label = "Usage"
    permission = ""

    def __init__(self, visitor: Visitor) -> None:
        """The last 30 days: the tenant's for those who may see it, or else the person's own."""
        super().__init__(visitor)
        whose = "tenant" if visitor.may("auth.usage.read") else "own"
        self._filter = Fields({"whose": [whose], "by": ["model"], "period": [DEFAULT_PERIOD]})
        self._directory = Directory(visitor)
        self._key_names: dict[str, str] = {}
        self._last_day = date.min
        self._sums: list[UsageSum] = []
        self._is_whole = True
        self._uses: Sequence[QuotaUse] = ()

    def actions(self) -> Mapping[str, Action]:
        """What can be done with usage."""
        return {"filter": self._narrow}

    async def load(self) -> None:
        """Ask for the sums, for what they are called, and for what is left."""
        self._last_day = datetime.now(UTC).date()
        self._sums = await self._ask()
        if self._filter.text("by") == "user":
            await self._directory.learn(sum_.user_id for sum_ in self._sums)
        if self._filter.text("by") == "key":
            await self._learn_keys()
        self._uses = await self._administration.quota_status()

    def shown(self) -> Mapping[str, Any]:
        """The plots, the table, and what is left."""
        days = days_until(self._last_day, period(self._filter)) if self._sums else []
        return {
            "filter": self._filter,
            "periods": PERIODS.items(),
            "plots": plots(self._sums, days, self._name) if self._sums else [],
            "rows": rows(self._sums, self._name),
            "is_whole": self._is_whole,
            "export": f"usage.csv?{urlencode(self._choices())}",
            "left": [_left(use) for use in self._uses],
        }

    async def _narrow(self, fields: Fields) -> None:
        self._filter = fields

    async def _ask(self) -> list[UsageSum]:
        sums: list[UsageSum] = []
        token = ""
        for _ in range(MAX_PAGES):
            request = QueryUsageRequest(
                query=usage_query(self._filter, self._last_day), page_size=PAGE_SIZE, page_token=token
            )
            answer = await self._administration.query_usage(request)
            sums.extend(answer.sums)
            token = answer.next_page_token
            if not token:
                break
        self._is_whole = not token
        return sums

    async def _learn_keys(self) -> None:
        """What keys are called, as far as the person may list them."""
        if not self._visitor.may("auth.keys"):
            return
        everyone = self._filter.text("whose") == "tenant" and self._visitor.may("auth.users.read")
        request = ListKeysRequest(page_size=PAGE_SIZE, user_id=EVERYONE if everyone else "")
        answer = await self._administration.list_keys(request)
        self._key_names = {key.key_id: key.name for key in answer.keys}

    def _name(self, sum_: UsageSum) -> str:
        """What a sum is shown under."""
        match self._filter.text("by"):
            case "user":
                return self._directory.name(sum_.user_id)
            case "key":
                return self._key_names.get(sum_.key_id, sum_.key_id) or "logins"
            case "model":
                return sum_.model or "tools alone"
            case _:
                return _ALL

    def _choices(self) -> dict[str, str]:
        return {name: self._filter.text(name) for name in ("whose", "by", "period")}


def period(fields: Fields) -> int:
    """The days that are asked for."""
    chosen = fields.text("period")
    return int(chosen if chosen in PERIODS else DEFAULT_PERIOD)


def usage_query(fields: Fields, last_day: date) -> UsageQuery:
    """What the controls ask for, up to a day."""
    split = _SPLITS.get(fields.text("by"))
    return UsageQuery(
        tenant_wide=fields.text("whose") == "tenant",
        first_day=(last_day - timedelta(days=period(fields) - 1)).isoformat(),
        last_day=last_day.isoformat(),
        group_by=[USAGE_DIMENSION_DAY, *([] if split is None else [split])],
    )


def _left(use: QuotaUse) -> Mapping[str, Any]:
    """How far a limit is used up."""
    dimension = QuotaDimension.Name(use.dimension).removeprefix("QUOTA_DIMENSION_").lower()
    is_money = dimension.startswith("cost_micros")
    return {
        "what": dimension.replace("cost_micros", "money").replace("_", " "),
        "used": price_text(use.used) if is_money else f"{use.used:,}",
        "limit": price_text(use.limit) if is_money else f"{use.limit:,}",
        "share": min(1.0, use.used / use.limit) if use.limit else 1.0,
        "over": use.used >= use.limit,
    }
