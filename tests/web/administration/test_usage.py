from __future__ import annotations

from datetime import UTC, datetime, timedelta

import grpc
import pytest

from parley.auth.v1 import key_service_pb2, usage_service_pb2
from parley.auth.v1.usage_service_pb2 import (
    USAGE_DIMENSION_DAY,
    USAGE_DIMENSION_KEY,
    USAGE_DIMENSION_MODEL,
    USAGE_DIMENSION_USER,
)
from tests.web.administration.conftest import Visit, html, text
from tests.web.scripted_auth import ScriptedAuth
from tests.web.scripted_edge import status
from web.administration.usage import MAX_PAGES, UsageRoom


async def test_everyone_sees_their_own(visit: Visit, auth: ScriptedAuth) -> None:
    shown = await html(UsageRoom(visit()))
    assert not auth.last(usage_service_pb2.QueryUsageRequest).query.tenant_wide
    assert "The whole tenant" not in shown
    assert 'value="user"' not in shown


async def test_administrators_see_the_tenant_s_of_30_days_by_model(visit: Visit, auth: ScriptedAuth) -> None:
    shown = await text(UsageRoom(visit("auth.usage.read")))
    today = datetime.now(UTC).date()
    assert auth.last(usage_service_pb2.QueryUsageRequest).query == usage_service_pb2.UsageQuery(
        tenant_wide=True,
        first_day=(today - timedelta(days=29)).isoformat(),
        last_day=today.isoformat(),
        group_by=[USAGE_DIMENSION_DAY, USAGE_DIMENSION_MODEL],
    )
    for name in ("Tokens", "Requests", "Cost", "parley-demo", "gpt-oss-20b", "tools alone"):
        assert name in shown


async def test_plots_can_be_read_out(visit: Visit) -> None:
    shown = await html(UsageRoom(visit("auth.usage.read")))
    assert shown.count('<svg viewBox="0 0 340 150" role="img" aria-label="') == 3
    assert shown.count("<title>") == 90


@pytest.mark.parametrize(
    ("by", "group", "name"),
    [
        ("user", [USAGE_DIMENSION_DAY, USAGE_DIMENSION_USER], "grace"),
        ("key", [USAGE_DIMENSION_DAY, USAGE_DIMENSION_KEY], "nightly report"),
        ("key", [USAGE_DIMENSION_DAY, USAGE_DIMENSION_KEY], "logins"),
        ("day", [USAGE_DIMENSION_DAY], "Total"),
    ],
)
async def test_usage_is_split(visit: Visit, auth: ScriptedAuth, by: str, group: list[int], name: str) -> None:
    shown = await text(UsageRoom(visit("*")), "filter", whose="tenant", by=by, period="7")
    assert list(auth.last(usage_service_pb2.QueryUsageRequest).query.group_by) == group
    assert name in shown


async def test_keys_are_named_as_far_as_they_may_be_listed(visit: Visit, auth: ScriptedAuth) -> None:
    await html(UsageRoom(visit("auth.keys")), "filter", whose="own", by="key", period="7")
    assert auth.last(key_service_pb2.ListKeysRequest).user_id == ""
    auth.requests.clear()
    await html(UsageRoom(visit()), "filter", whose="own", by="key", period="7")
    assert not [r for r in auth.requests if isinstance(r, key_service_pb2.ListKeysRequest)]


async def test_a_period_that_is_not_offered_is_the_usual_one(visit: Visit, auth: ScriptedAuth) -> None:
    await html(UsageRoom(visit()), "filter", period="999999999")
    query = auth.last(usage_service_pb2.QueryUsageRequest).query
    assert query.first_day == (datetime.now(UTC).date() - timedelta(days=29)).isoformat()


async def test_more_than_the_page_shows_is_told(visit: Visit, auth: ScriptedAuth) -> None:
    auth.sums = auth.sums[:1] * (1000 * MAX_PAGES + 1)
    assert "The file has it all" in await text(UsageRoom(visit()))
    assert len([r for r in auth.requests if isinstance(r, usage_service_pb2.QueryUsageRequest)]) == MAX_PAGES


async def test_the_file_is_of_what_is_on_show(visit: Visit) -> None:
    shown = await html(UsageRoom(visit("*")), "filter", whose="own", by="key", period="7")
    assert 'href="usage.csv?whose=own&amp;by=key&amp;period=7" download' in shown


async def test_what_is_left_is_told(visit: Visit) -> None:
    shown = await text(UsageRoom(visit()))
    assert "Tokens per day 1,310,400 of 2,000,000" in shown
    assert "Money per month 49.50 of 49.50" in shown


async def test_usage_stands_though_limits_cannot_be_told(visit: Visit, auth: ScriptedAuth) -> None:
    auth.refusals["GetQuotaStatus"] = status(grpc.StatusCode.UNAVAILABLE, "x", "DEPENDENCY_UNAVAILABLE")
    shown = await html(UsageRoom(visit()))
    assert "DEPENDENCY_UNAVAILABLE" in shown
    assert "a-plots" in shown
