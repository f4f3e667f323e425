from __future__ import annotations

import pytest

from parley.auth.v1 import quota_pb2, quota_service_pb2
from tests.web.administration.conftest import Visit, html, text
from tests.web.scripted_auth import ScriptedAuth, ulid
from web.administration.quotas import QuotasRoom


async def test_quotas_are_told_in_words(visit: Visit) -> None:
    shown = await text(QuotasRoom(visit("*")))
    assert "Model parley-demo 64 concurrent streams 0.15 in 0.60 out a million tokens" in shown
    assert "User alan 60 requests per minute 2,000,000 tokens per day 49.50 money per month" in shown
    assert "Role viewer 0 requests per minute" in shown
    assert "Every other user 20,000 tokens per minute" in shown


async def test_a_quota_is_set(visit: Visit, auth: ScriptedAuth) -> None:
    room = QuotasRoom(visit("*"))
    await html(room, "new")
    shown = await text(
        room, "set", kind="user_id", subject=ulid(2), tokens_per_day="1000", money_per_month="2.50"
    )
    assert "User" in shown
    assert "the quota is set." in shown
    assert auth.last(quota_service_pb2.SetQuotaRequest).quota == quota_pb2.Quota(
        subject=quota_pb2.QuotaSubject(user_id=ulid(2)),
        limits=quota_pb2.QuotaLimits(tokens_per_day=1000, cost_micros_per_month=2_500_000),
    )


async def test_nothing_is_told_from_no_limit(visit: Visit, auth: ScriptedAuth) -> None:
    await html(QuotasRoom(visit("*")), "set", kind="default_user", subject="", requests_per_minute="0")
    quota = auth.last(quota_service_pb2.SetQuotaRequest).quota
    assert quota.subject.default_user
    assert quota.limits.HasField("requests_per_minute")
    assert not quota.limits.HasField("tokens_per_day")


async def test_a_model_has_a_price_of_a_million_tokens(visit: Visit, auth: ScriptedAuth) -> None:
    await html(
        QuotasRoom(visit("*")), "set", kind="model", subject="m", prompt_price="0.15", completion_price="0.6"
    )
    price = auth.last(quota_service_pb2.SetQuotaRequest).quota.price
    assert (price.prompt_nanos, price.completion_nanos) == (150, 600)


@pytest.mark.parametrize(
    ("kind", "subject", "stands"),
    [
        ("model", "parley-demo", ['name="concurrent_streams" type="number" value="64"', 'value="0.15"']),
        ("user_id", ulid(3), ['name="money_per_month" type="number" value="49.5"', 'value="2000000"']),
        ("default_user", "", ['value="500000"', "Every other user"]),
    ],
)
async def test_a_change_begins_with_what_is_set(
    visit: Visit, kind: str, subject: str, stands: list[str]
) -> None:
    shown = await html(QuotasRoom(visit("*")), "change", kind=kind, subject=subject)
    assert all(text in shown for text in stands), shown
    assert f'<input type="hidden" name="kind" value="{kind}">' in shown


async def test_a_number_that_is_none_stays_in_the_form(visit: Visit, auth: ScriptedAuth) -> None:
    room = QuotasRoom(visit("*"))
    await html(room, "new")
    shown = await html(room, "set", kind="role", subject="user", tokens_per_day="many")
    assert "tokens per day: must be a number" in shown
    assert 'value="many"' in shown
    assert not [r for r in auth.requests if isinstance(r, quota_service_pb2.SetQuotaRequest)]


async def test_a_subject_that_does_not_exist_is_left_to_the_platform(
    visit: Visit, auth: ScriptedAuth
) -> None:
    await html(QuotasRoom(visit("*")), "set", kind="nobody", subject="x")
    assert auth.last(quota_service_pb2.SetQuotaRequest).quota.subject == quota_pb2.QuotaSubject()


async def test_a_quota_is_taken_away_after_a_question(visit: Visit, auth: ScriptedAuth) -> None:
    room = QuotasRoom(visit("*"))
    assert 'data-confirm="Delete this quota?"' in await html(room)
    shown = await text(room, "delete", kind="user_id", subject=ulid(3))
    assert "User alan: there is no quota any more." in shown
    assert auth.last(quota_service_pb2.DeleteQuotaRequest).subject.user_id == ulid(3)
