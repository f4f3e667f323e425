"""Quotas: what users, keys, roles and models may use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parley.auth.v1.quota_pb2 import Quota, QuotaLimits, QuotaSubject
from parley.auth.v1.quota_service_pb2 import ListQuotasRequest
from web.administration.directory import Directory
from web.administration.fields import Fields
from web.administration.listing import PAGE_SIZE
from web.administration.money import from_micros, from_nanos, price_text, to_micros, to_nanos
from web.administration.paged_room import PagedRoom
from web.administration.room import Action, Notice
from web.administration.visitor import Visitor

_COUNTED = (
    "requests_per_minute",
    "tokens_per_minute",
    "concurrent_streams",
    "tokens_per_day",
    "tokens_per_month",
)
_PAID = {"cost_micros_per_day": "money_per_day", "cost_micros_per_month": "money_per_month"}
"""Limits of money, and the controls that show them in the currency itself."""

_FLAGS = ("default_user", "tenant")
"""Subjects that have no name."""

_KINDS = {
    "user_id": "User",
    "key_id": "Key",
    "role": "Role",
    "model": "Model",
    "default_user": "Every other user",
    "tenant": "The whole tenant",
}


class QuotasRoom(PagedRoom[Quota]):
    """Quotas: set, changed, taken away."""

    name = "quotas"
    label = "Quotas"
    permission = "auth.quotas.read"

    def __init__(self, visitor: Visitor) -> None:
        """All of the tenant's, by kind."""
        super().__init__(visitor)
        self._directory = Directory(visitor)

    def actions(self) -> Mapping[str, Action]:
        """What can be done with quotas."""
        return {
            **super().actions(),
            "new": self._new,
            "change": self._change,
            "set": self._set,
            "delete": self._delete,
        }

    async def load(self) -> None:
        """Ask for the page of quotas, and for what its users are called."""
        await super().load()
        await self._directory.learn(quota.subject.user_id for quota in self.listing.items)

    def shown(self) -> Mapping[str, Any]:
        """The quotas, and how they are told."""
        return {
            **super().shown(),
            "kinds": _KINDS,
            "kind": kind_of,
            "subject": self._subject_name,
            "limits": limits_told,
        }

    async def fetch(self, page_token: str) -> tuple[Sequence[Quota], str]:
        """Ask for a page."""
        request = ListQuotasRequest(page_size=PAGE_SIZE, page_token=page_token)
        answer = await self._administration.list_quotas(request)
        return answer.quotas, answer.next_page_token

    async def _new(self, _fields: Fields) -> None:
        self.open_form("set", kind="user_id", fixed=False)

    async def _change(self, fields: Fields) -> None:
        quota = await self._administration.get_quota(_subject(fields))
        self.open_form("set", **_values(quota), fixed=True)

    async def _set(self, fields: Fields) -> None:
        quota = Quota(subject=_subject(fields), limits=_limits(fields))
        prompt, completion = (to_nanos(fields.decimal(name)) for name in ("prompt_price", "completion_price"))
        if prompt or completion:
            quota.price.prompt_nanos, quota.price.completion_nanos = prompt or 0, completion or 0
        quota = await self._administration.set_quota(quota)
        self.notice = Notice(f"{self._called(quota.subject)}: the quota is set.")

    async def _delete(self, fields: Fields) -> None:
        subject = _subject(fields)
        await self._administration.delete_quota(subject)
        self.notice = Notice(f"{self._called(subject)}: there is no quota any more.")

    def _subject_name(self, subject: QuotaSubject) -> str:
        """Which one of its kind; empty where there is only one."""
        name = _name(subject)
        return self._directory.name(name) if kind_of(subject) == "user_id" else name

    def _called(self, subject: QuotaSubject) -> str:
        return f"{_KINDS[kind_of(subject)]} {self._subject_name(subject)}".strip()


def kind_of(subject: QuotaSubject) -> str:
    """What a quota is for, as the contract calls it."""
    return subject.WhichOneof("subject") or "tenant"


def limits_told(quota: Quota) -> list[tuple[str, str]]:
    """Every limit that is set, with its words."""
    limits = _set(quota.limits)
    told = [(f"{limits[name]:,}", name) for name in _COUNTED if name in limits]
    told += [(price_text(limits[name]), control) for name, control in _PAID.items() if name in limits]
    return [(number, words.replace("_", " ")) for number, words in told]


def _set(limits: QuotaLimits) -> dict[str, int]:
    """The limits that are set, by name."""
    return {limit.name: value for limit, value in limits.ListFields()}


def _name(subject: QuotaSubject) -> str:
    kind = kind_of(subject)
    return "" if kind in _FLAGS else str(getattr(subject, kind))


def _subject(fields: Fields) -> QuotaSubject:
    """The subject that a form names."""
    subject, kind = QuotaSubject(), fields.text("kind")
    if kind in _KINDS:
        setattr(subject, kind, kind in _FLAGS or fields.text("subject"))
    return subject


def _limits(fields: Fields) -> QuotaLimits:
    """The limits that a form sets; what is left empty is not limited."""
    values = {name: fields.whole(name) for name in _COUNTED}
    values |= {name: to_micros(fields.decimal(control)) for name, control in _PAID.items()}
    return QuotaLimits(**{name: value for name, value in values.items() if value is not None})


def _values(quota: Quota) -> dict[str, str]:
    """A quota as a form's controls show it."""
    limits = _set(quota.limits)
    values = {"kind": kind_of(quota.subject), "subject": _name(quota.subject)}
    values |= {name: str(limits[name]) for name in _COUNTED if name in limits}
    values |= {control: from_micros(limits[name]) for name, control in _PAID.items() if name in limits}
    if quota.HasField("price"):
        values["prompt_price"] = from_nanos(quota.price.prompt_nanos)
        values["completion_price"] = from_nanos(quota.price.completion_nanos)
    return values
