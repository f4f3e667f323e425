"""Quotas through the real service: who may set them, whom they hold, and what is left of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from redis.asyncio import Redis
from ulid import ULID

from parley.auth.v1 import quota_pb2, usage_pb2
from parley.auth.v1 import quota_service_pb2 as pb2
from parley.auth.v1.quota_service_pb2_grpc import QuotaServiceStub
from services.auth.quota_upkeep import AccountUse, QuotaUpkeep
from services.auth.settings import AuthSettings
from services.auth.store.models import Tenant
from services.ledger.admission import Admission, Spent
from services.ledger.ledger import USAGE, Ledger, LimitReached, open_store
from services.ledger.limits import Dimension, Payer
from services.ledger.quotas import subject_from, terms_for
from services.ledger.remote_limits import RemoteLimits
from services.rpc.call import Call, enter_call
from services.rpc.principal import Principal
from services.rpc.quota_errors import QuotaExceeded
from tests.auth.conftest import Auth, bearer, reason

LATER = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Redis]:
    async with open_store(store_url) as client:
        await client.flushall()
        yield client


@pytest.fixture
def auth_settings(
    auth_settings: Callable[..., AuthSettings], store_url: str, store: Redis
) -> Callable[..., AuthSettings]:
    """Settings with a usage store."""
    return lambda **changes: auth_settings(**{"store_url": store_url, **changes})


@pytest.fixture
async def admin(auth: Auth) -> Any:
    """An administrator of an ordinary tenant."""
    return await auth.add_user("ada", "admin")


@pytest.fixture
async def token(auth: Auth, admin: Any) -> str:
    return str((await auth.login("ada")).access_token)


def quota(subject: str, prompt_nanos: int = 0, **limits: int) -> quota_pb2.Quota:
    made = quota_pb2.Quota(subject=subject_from(subject), limits=quota_pb2.QuotaLimits(**limits))
    if prompt_nanos:
        made.price.prompt_nanos = prompt_nanos
    return made


def stub(auth: Auth, peer: str = "edge") -> Any:
    return QuotaServiceStub(auth.connect(peer))


async def put(auth: Auth, token: str, made: quota_pb2.Quota, tenant_id: str = "") -> quota_pb2.Quota:
    request = pb2.SetQuotaRequest(quota=made, tenant_id=tenant_id)
    return (await stub(auth).SetQuota(request, metadata=bearer(token))).quota


async def listed(auth: Auth, token: str, **fields: Any) -> list[quota_pb2.Quota]:
    """All pages of the list."""
    found: list[quota_pb2.Quota] = []
    page = await stub(auth).ListQuotas(pb2.ListQuotasRequest(**fields), metadata=bearer(token))
    found.extend(page.quotas)
    while page.next_page_token:
        request = pb2.ListQuotasRequest(**{**fields, "page_token": page.next_page_token})
        page = await stub(auth).ListQuotas(request, metadata=bearer(token))
        found.extend(page.quotas)
    return found


async def until_ready(ledger: Ledger) -> None:
    async with asyncio.timeout(10):
        while not await ledger.is_ready():  # noqa: ASYNC110 - auth's upkeep makes it so
            await asyncio.sleep(0.01)


async def effective(auth: Auth, token: str, model: str = "") -> list[quota_pb2.Quota]:
    request = pb2.GetEffectiveLimitsRequest(model=model)
    answer = await stub(auth, "inference").GetEffectiveLimits(request, metadata=bearer(token))
    return list(answer.quotas)


async def test_a_quota_is_set_shown_replaced_and_deleted(auth: Auth, token: str, admin: Any) -> None:
    subject = f"user/{admin.user_id}"
    made = await put(auth, token, quota(subject, tokens_per_day=100, requests_per_minute=0))
    assert made.HasField("update_time")
    assert made.limits.HasField("requests_per_minute")
    assert not made.limits.HasField("tokens_per_month")
    await put(auth, token, quota(subject, tokens_per_month=7))
    request = pb2.GetQuotaRequest(subject=subject_from(subject))
    shown = (await stub(auth).GetQuota(request, metadata=bearer(token))).quota
    assert shown.limits == quota_pb2.QuotaLimits(tokens_per_month=7)
    for _ in range(2):
        delete = pb2.DeleteQuotaRequest(subject=subject_from(subject))
        await stub(auth).DeleteQuota(delete, metadata=bearer(token))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub(auth).GetQuota(request, metadata=bearer(token))
    assert reason(caught) == "QUOTA_NOT_FOUND"


async def test_quotas_are_listed_by_kind_and_name_page_by_page(auth: Auth, token: str) -> None:
    subjects = ["role/user", "model/b", "default", "model/a"]
    for subject in subjects:
        await put(auth, token, quota(subject, tokens_per_day=1))
    found = await listed(auth, token, page_size=1)
    assert [each.subject for each in found] == [
        subject_from(text) for text in ("default", "model/a", "model/b", "role/user")
    ]


async def test_a_request_is_held_to_all_that_match(auth: Auth, token: str, admin: Any) -> None:
    key = await auth.create_key(token)
    mine = [f"user/{admin.user_id}", "role/admin", "model/m", f"key/{key.key.key_id}"]
    for subject in (*mine, "role/user", "model/other", "default"):
        await put(auth, token, quota(subject, tokens_per_day=1))
    by_login = [each.subject.WhichOneof("subject") for each in await effective(auth, token, "m")]
    assert by_login == ["model", "role", "user_id"]
    await auth.add_user("bob", tenant=admin.tenant_id)
    bobs = str((await auth.login("bob")).access_token)
    assert [each.subject.WhichOneof("subject") for each in await effective(auth, bobs)] == ["default_user"]


async def test_the_tightest_of_a_users_limits_counts_and_a_price_comes_with_its_model(
    auth: Auth, token: str, admin: Any
) -> None:
    await put(auth, token, quota(f"user/{admin.user_id}", tokens_per_day=100, concurrent_streams=3))
    await put(auth, token, quota("role/admin", tokens_per_day=50, requests_per_minute=9))
    await put(auth, token, quota("model/m", prompt_nanos=250))
    payer = Payer(admin.tenant_id, admin.user_id, "", "m")
    terms = terms_for(payer, await effective(auth, token, "m"))
    (account,) = terms.accounts
    assert account.name == f"user/{admin.user_id}"
    assert {name: (rule.value, rule.subject) for name, rule in account.rules.items()} == {
        Dimension.TOKENS_PER_DAY: (50, "role/admin"),
        Dimension.REQUESTS_PER_MINUTE: (9, "role/admin"),
        Dimension.CONCURRENT_STREAMS: (3, f"user/{admin.user_id}"),
    }
    assert terms.price.prompt_nanos == 250


async def test_the_status_tells_what_is_used_and_left(
    auth: Auth, token: str, admin: Any, store: Redis
) -> None:
    await put(auth, token, quota(f"user/{admin.user_id}", tokens_per_day=100, cost_micros_per_month=5))
    await put(auth, token, quota("model/m", prompt_nanos=100))
    payer = Payer(admin.tenant_id, admin.user_id, "", "m")
    ledger, terms = Ledger(store), terms_for(payer, await effective(auth, token, "m"))
    await until_ready(ledger)
    await ledger.reserve("a-lease", payer, terms, prompt=20, wanted=5, seconds=30)
    answer = await stub(auth).GetQuotaStatus(pb2.GetQuotaStatusRequest(model="m"), metadata=bearer(token))
    used = {quota_pb2.QuotaDimension.Name(use.dimension): (use.limit, use.used) for use in answer.uses}
    assert used == {
        "QUOTA_DIMENSION_TOKENS_PER_DAY": (100, 25),
        "QUOTA_DIMENSION_COST_MICROS_PER_MONTH": (5, 2),
    }
    assert all(use.reset_time.ToDatetime(UTC) > auth.clock() for use in answer.uses)


@pytest.mark.parametrize("kind", ["user", "key"])
async def test_a_subject_of_nobody_or_of_another_tenant_is_not_found(
    auth: Auth, token: str, kind: str
) -> None:
    stranger = await auth.add_user("eve", "admin")
    key = await auth.create_key(str((await auth.login("eve")).access_token))
    foreign = {"user": stranger.user_id, "key": key.key.key_id}[kind]
    for name in (str(ULID()), foreign):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await put(auth, token, quota(f"{kind}/{name}", tokens_per_day=1))
        assert reason(caught) == "QUOTA_SUBJECT_NOT_FOUND"
    with pytest.raises(grpc.aio.AioRpcError):
        await put(auth, token, quota("role/no-such-role", tokens_per_day=1))


async def test_only_the_root_tenant_reaches_others_and_sets_a_tenants_own_limit(
    auth: Auth, token: str, admin: Any
) -> None:
    other = await auth.add_user("eve", "admin")
    for made, tenant_id in ((quota("default"), other.tenant_id), (quota("tenant", tokens_per_day=1), "")):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await put(auth, token, made, tenant_id)
        assert reason(caught) == "ROOT_TENANT_ONLY"
    async with auth.database.writing() as session:
        tenant = await session.get(Tenant, admin.tenant_id)
        assert tenant is not None
        tenant.root = True
    await put(auth, token, quota("tenant", tokens_per_day=1), other.tenant_id)
    assert [each.limits.tokens_per_day for each in await listed(auth, token, tenant_id=other.tenant_id)] == [
        1
    ]
    assert await listed(auth, token) == []
    eves = str((await auth.login("eve")).access_token)
    assert len(await listed(auth, eves)) == 1


@pytest.mark.parametrize(
    "made",
    [
        quota("user/not-a-ulid", tokens_per_day=1),
        quota("default", tokens_per_day=10**12 + 1),
        quota("default", requests_per_minute=2**63),
        quota("default", cost_micros_per_month=2**64 - 1),
        quota("role/user", prompt_nanos=1),
        quota("model/a\nb", tokens_per_day=1),
        quota_pb2.Quota(limits=quota_pb2.QuotaLimits(tokens_per_day=1)),
    ],
    ids=["id", "day", "rate", "money", "price", "control character", "no subject"],
)
async def test_what_is_no_quota_is_refused(auth: Auth, token: str, made: quota_pb2.Quota) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await put(auth, token, made)
    assert reason(caught) == "INVALID_REQUEST"
    assert (await put(auth, token, quota("default", tokens_per_day=10**12))).limits.tokens_per_day == 10**12


async def test_users_see_their_status_and_nothing_else(auth: Auth, admin: Any) -> None:
    await auth.add_user("bob", "user", tenant=admin.tenant_id)
    bobs = str((await auth.login("bob")).access_token)
    await stub(auth).GetQuotaStatus(pb2.GetQuotaStatusRequest(), metadata=bearer(bobs))
    for call in (
        stub(auth).ListQuotas(pb2.ListQuotasRequest(), metadata=bearer(bobs)),
        stub(auth).SetQuota(pb2.SetQuotaRequest(quota=quota("default")), metadata=bearer(bobs)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert reason(caught) == "PERMISSION_MISSING"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub(auth).GetEffectiveLimits(pb2.GetEffectiveLimitsRequest(), metadata=bearer(bobs))
    assert reason(caught) == "PEER_NOT_ALLOWED"


async def test_what_auth_says_holds_where_it_is_spent(
    auth: Auth, token: str, admin: Any, store: Redis
) -> None:
    await put(auth, token, quota(f"user/{admin.user_id}", tokens_per_day=30, concurrent_streams=1))
    call = Call("request-1", "/m")
    call.principal = Principal(
        admin.user_id, "ada", admin.tenant_id, ("admin",), frozenset(), "", "", "", LATER, token
    )
    enter_call(call)
    payer = Payer(admin.tenant_id, admin.user_id)
    ledger, limits = Ledger(store), RemoteLimits(stub(auth, "inference"), fresh_seconds=0)
    admission = Admission(ledger, limits, service="test.parley")
    await until_ready(ledger)
    lease = await admission.admit(str(ULID()), payer, prompt=10)
    assert lease.ceiling == 20
    with pytest.raises(QuotaExceeded) as caught:
        await admission.admit(str(ULID()), payer, prompt=10)
    assert caught.value.refused.subject == f"user/{admin.user_id}"
    await admission.settle(lease, Spent(prompt_tokens=10, completion_tokens=4))
    answer = await stub(auth).GetQuotaStatus(pb2.GetQuotaStatusRequest(), metadata=bearer(token))
    assert sorted((use.limit, use.used) for use in answer.uses) == [(1, 0), (30, 14)]


class Remembered:
    """A history in which one user used something this month, and some of it today."""

    def __init__(self, account: str) -> None:
        self.account = account

    async def since(self, time: datetime) -> Sequence[AccountUse]:
        begins_month = time.day == 1
        return [AccountUse(self.account, 70 if begins_month else 30, 0)]


async def test_a_lost_store_gets_its_budgets_back_from_the_history(store: Redis) -> None:
    ledger, payer = Ledger(store), Payer("t", "u")
    terms = terms_for(payer, [quota("default", tokens_per_month=75)])
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    upkeep = QuotaUpkeep(ledger, Remembered("user/u"), lambda: now)
    for _ in range(2):
        await upkeep.tend()
        await ledger.reserve("small", payer, terms, prompt=1, wanted=1, seconds=30)
        with pytest.raises(LimitReached):
            await ledger.reserve("large", payer, terms, prompt=5, wanted=1, seconds=30)
        await store.flushall()


class NoHistory:
    """A history of nothing."""

    async def since(self, time: datetime) -> Sequence[AccountUse]:
        return ()


async def test_an_expired_lease_is_settled_with_what_it_had_reserved(store: Redis) -> None:
    ledger, payer = Ledger(store), Payer("t", "u", "k", "m")
    terms = terms_for(payer, [quota("default", tokens_per_day=100)])
    upkeep = QuotaUpkeep(ledger, NoHistory(), lambda: datetime.now(UTC))
    await upkeep.tend()
    await ledger.reserve("01ARZ3NDEKTSV4RRFFQ69G5FAV", payer, terms, prompt=10, wanted=8, seconds=0.01)
    async with asyncio.timeout(5):
        while not await store.xlen(USAGE):
            await upkeep.tend()
    ((_, entry),) = await store.xrange(USAGE)
    record = usage_pb2.UsageRecord.FromString(entry[b"record"])
    assert (record.record_id, record.key_id, record.model) == ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "k", "m")
    assert (record.prompt_tokens, record.completion_tokens) == (10, 8)
    await upkeep.tend()
    assert await store.xlen(USAGE) == 1
