"""Who sees whose usage, in which sums, and how it is handed out."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from ulid import ULID

from parley.auth.v1 import usage_service_pb2 as pb2
from parley.auth.v1.usage_service_pb2_grpc import UsageServiceStub
from services.auth.store.models import User
from services.auth.store.usage import UsageRecords
from tests.auth.conftest import Auth, bearer, reason

DAY, USER, MODEL = pb2.USAGE_DIMENSION_DAY, pb2.USAGE_DIMENSION_USER, pb2.USAGE_DIMENSION_MODEL
KEY = str(ULID())


async def spent(auth: Auth, user: User, model: str = "demo", days_ago: int = 0, **amounts: int) -> None:
    """Count one record, as the consumer does."""
    zero = dict.fromkeys(("cached_prompt_tokens", "tool_calls", "cost_micros"), 0)
    row: dict[str, Any] = {
        "record_id": str(ULID()),
        "tenant_id": user.tenant_id,
        "user_id": user.user_id,
        "key_id": KEY,
        "model": model,
        "end_time": datetime.now(UTC) - timedelta(days=days_ago),
        "requests": 1,
        "prompt_tokens": 10,
        "completion_tokens": 5,
        **zero,
        **amounts,
    }
    async with auth.database.writing() as session:
        await UsageRecords(session).add([row])


def usage(auth: Auth) -> Any:
    return UsageServiceStub(auth.channel)


async def ask(auth: Auth, token: str, page_size: int = 0, page_token: str = "", **query: Any) -> Any:
    request = pb2.QueryUsageRequest(query=query, page_size=page_size, page_token=page_token)
    return await usage(auth).QueryUsage(request, metadata=bearer(token))


@pytest.fixture
async def tenant(auth: Auth) -> tuple[User, User]:
    """Two users of one tenant, one of whom may see all of it; both have used something."""
    olga = await auth.add_user("olga", "admin")
    ada = await auth.add_user("ada", "viewer", tenant=olga.tenant_id)
    await spent(auth, olga)
    await spent(auth, ada)
    await spent(auth, ada, "large", days_ago=1, completion_tokens=100, cost_micros=7)
    return olga, ada


async def test_everyone_sees_their_own(auth: Auth, tenant: tuple[User, User]) -> None:
    token = (await auth.login("ada")).access_token
    answer = await ask(auth, token)
    (own,) = answer.sums
    assert (own.requests, own.completion_tokens, own.cost_micros) == (2, 105, 7)
    assert answer.total == own


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"tenant_wide": True}, "PERMISSION_MISSING"),
        ({"user_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}, "PERMISSION_MISSING"),
        ({"tenant_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}, "PERMISSION_MISSING"),
        ({"first_day": "2026-02-30"}, "INVALID_REQUEST"),
        ({"first_day": "2026-02-02", "last_day": "2026-02-01"}, "INVALID_REQUEST"),
        ({"group_by": [DAY, DAY]}, "INVALID_REQUEST"),
        ({"last_day": "yesterday"}, "INVALID_REQUEST"),
    ],
)
async def test_what_goes_too_far_is_refused(
    auth: Auth, tenant: tuple[User, User], query: dict[str, Any], expected: str
) -> None:
    token = (await auth.login("ada")).access_token
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(auth, token, **query)
    assert reason(caught) == expected


async def test_who_may_sees_the_tenant_s_and_no_other(auth: Auth, tenant: tuple[User, User]) -> None:
    olga, ada = tenant
    stranger = await auth.add_user("bob", "user")
    await spent(auth, stranger)
    token = (await auth.login("olga")).access_token
    answer = await ask(auth, token, tenant_wide=True, group_by=[USER, MODEL])
    assert [(row.user_id, row.model, row.requests) for row in answer.sums] == sorted(
        [(ada.user_id, "demo", 1), (ada.user_id, "large", 1), (olga.user_id, "demo", 1)]
    )
    assert answer.total.requests == 3
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(auth, token, tenant_id=stranger.tenant_id)
    assert reason(caught) == "ROOT_TENANT_ONLY"
    password = (auth.data_path / "admin-password").read_text().strip()
    root = (await auth.login("admin", password)).access_token
    assert (await ask(auth, root, tenant_id=stranger.tenant_id)).total.requests == 1


async def test_pages_cover_every_sum_once(auth: Auth, tenant: tuple[User, User]) -> None:
    token = (await auth.login("olga")).access_token
    query = {"tenant_wide": True, "group_by": [DAY, USER, MODEL]}
    seen, page_token = [], ""
    while not seen or page_token:
        answer = await ask(auth, token, page_size=1, page_token=page_token, **query)
        seen += [(row.day, row.user_id, row.model) for row in answer.sums]
        page_token = answer.next_page_token
    assert len(seen) == 3
    assert seen == sorted(set(seen))


async def test_days_and_names_select(auth: Auth, tenant: tuple[User, User]) -> None:
    token = (await auth.login("ada")).access_token
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    assert (await ask(auth, token, first_day=yesterday, last_day=yesterday)).total.completion_tokens == 100
    assert (await ask(auth, token, model="large")).total.requests == 1
    assert (await ask(auth, token, key_id=str(ULID()))).total.requests == 0


async def test_a_dashboard_is_told_of_changes(auth: Auth, tenant: tuple[User, User]) -> None:
    token = (await auth.login("ada")).access_token
    request = pb2.WatchUsageRequest(query={"group_by": [MODEL]}, interval_seconds=1)
    call = usage(auth).WatchUsage(request, metadata=bearer(token), timeout=20)
    assert (await call.read()).total.requests == 2
    await spent(auth, tenant[1])
    assert (await call.read()).total.requests == 3
    call.cancel()


async def test_a_file_for_spreadsheets(auth: Auth, tenant: tuple[User, User]) -> None:
    await spent(auth, tenant[1], model="=1+1")
    token = (await auth.login("ada")).access_token
    call = usage(auth).ExportUsage(
        pb2.ExportUsageRequest(query={"group_by": [MODEL]}), metadata=bearer(token)
    )
    parts = [part async for part in call]
    assert parts[0].content_type.startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(part.data for part in parts).decode())))
    # A cell that a spreadsheet would compute is marked as text.
    assert [(row["model"], row["completion_tokens"]) for row in rows] == [
        ("'=1+1", "5"),
        ("demo", "5"),
        ("large", "100"),
    ]
