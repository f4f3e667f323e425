"""Between the contract's quotas and the ledger's terms: pure functions."""

from __future__ import annotations

from collections.abc import Iterable

from parley.auth.v1 import quota_pb2
from services.ledger.limits import DIMENSIONS, Account, Dimension, Payer, Price, Rule, Terms

NAMED = {"key": "key_id", "user": "user_id", "role": "role", "model": "model"}
DIMENSION_MESSAGES = {
    dimension: quota_pb2.QuotaDimension.Value(f"QUOTA_DIMENSION_{dimension.name}") for dimension in Dimension
}


def terms_for(payer: Payer, quotas: Iterable[quota_pb2.Quota]) -> Terms:
    """The terms of a request that is subject to these quotas.

    A user's own limits, those of the user's roles and the tenant's default all
    count on the user's account, so of each kind the tightest one stands.
    """
    accounts: dict[str, Account] = {}
    price = Price()
    for quota in quotas:
        if quota.HasField("price"):
            price = Price(quota.price.prompt_nanos, quota.price.completion_nanos)
        rules = rules_of(quota)
        if rules:
            name = account_name(quota.subject, payer)
            accounts[name] = accounts.get(name, Account(name)).merged(rules)
    return Terms(tuple(accounts[name] for name in sorted(accounts)), price)


def rules_of(quota: quota_pb2.Quota) -> dict[Dimension, Rule]:
    """The limits of a quota that are set."""
    subject, limits = subject_text(quota.subject), quota.limits
    return {
        dimension: Rule(getattr(limits, dimension.value), subject)
        for dimension in DIMENSIONS
        if limits.HasField(dimension.value)
    }


def account_name(subject: quota_pb2.QuotaSubject, payer: Payer) -> str:
    """Where what a subject's quota limits is counted when this payer asks."""
    match subject.WhichOneof("subject"):
        case "key_id":
            return f"key/{payer.key_id}"
        case "model":
            return f"model/{payer.tenant_id}/{payer.model}"
        case "tenant":
            return f"tenant/{payer.tenant_id}"
        case _:
            return f"user/{payer.user_id}"


def subject_text(subject: quota_pb2.QuotaSubject) -> str:
    """A subject as people read and write it: `user/ID`, `role/NAME`, `default`, `tenant`."""
    kind = subject.WhichOneof("subject")
    match kind:
        case "key_id" | "user_id" | "role" | "model":
            return f"{kind.removesuffix('_id')}/{getattr(subject, kind)}"
        case "default_user":
            return "default"
        case _:
            return kind or ""


def subject_from(text: str) -> quota_pb2.QuotaSubject:
    """A subject from its text.

    Raises:
        ValueError: It is none.
    """
    kind, _, name = text.partition("/")
    subject = quota_pb2.QuotaSubject()
    if text == "default":
        subject.default_user = True
    elif text == "tenant":
        subject.tenant = True
    elif kind in NAMED and name:
        setattr(subject, NAMED[kind], name)
    else:
        raise ValueError("a subject is key/ID, user/ID, role/NAME, model/NAME, default or tenant")
    return subject
