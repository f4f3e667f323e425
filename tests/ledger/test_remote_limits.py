"""Limits as auth tells them: asked once, shared, and remembered while it is away."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from parley.auth.v1 import quota_pb2, quota_service_pb2
from services.ledger.limits import Dimension, Payer
from services.ledger.quotas import subject_from, subject_text
from services.ledger.remote_limits import RemoteLimits
from services.rpc.call import Call, enter_call
from services.rpc.quota_errors import QuotaUnavailable
from tests.conftest import TokenMaker

PAYER = Payer("tenant-1", "user-1", "", "m")


class Auth:
    """Answers `GetEffectiveLimits`, or does not."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.away = False
        self.metadata: Any = None
        self.answered = asyncio.Event()

    async def GetEffectiveLimits(self, request: Any, metadata: Any, **options: Any) -> Any:
        self.asked.append(request.model)
        self.metadata = metadata
        await asyncio.sleep(0)
        self.answered.set()
        if self.away:
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, None, None)  # type: ignore[arg-type]
        limits = quota_pb2.QuotaLimits(tokens_per_day=9)
        quota = quota_pb2.Quota(subject=subject_from("role/user"), limits=limits)
        return quota_service_pb2.GetEffectiveLimitsResponse(quotas=[quota])


@pytest.fixture
async def auth(tokens: TokenMaker) -> Auth:
    call = Call("request-1", "/m")
    call.principal = tokens.principal("inference.chat")
    enter_call(call)
    return Auth()


async def test_those_who_ask_at_once_share_an_answer_and_it_is_kept(auth: Auth) -> None:
    limits = RemoteLimits(auth)  # type: ignore[arg-type]
    found = await asyncio.gather(*(limits.terms(PAYER) for _ in range(20)))
    found.append(await limits.terms(PAYER))
    assert auth.asked == ["m"]
    (account,) = found[0].accounts
    assert (account.name, account.rules[Dimension.TOKENS_PER_DAY].value) == ("user/user-1", 9)
    assert all(terms is found[0] for terms in found)
    assert ("authorization", "Bearer ") in auth.metadata


async def test_who_asks_late_is_answered_at_once_while_auth_is_asked_again(auth: Auth) -> None:
    now = 0.0
    limits = RemoteLimits(auth, fresh_seconds=5.0, clock=lambda: now)  # type: ignore[arg-type]
    first = await limits.terms(PAYER)
    now = 1.9
    await limits.terms(PAYER)
    assert auth.asked == ["m"]
    now = 2.1
    auth.answered.clear()
    assert await limits.terms(PAYER) is first
    await auth.answered.wait()
    assert await limits.terms(PAYER) is not first
    assert auth.asked == ["m", "m"]
    now = 20.0
    auth.away = True
    assert (await limits.terms(PAYER)).accounts == first.accounts


async def test_an_answer_that_is_too_old_is_waited_for(auth: Auth) -> None:
    now = 0.0
    limits = RemoteLimits(auth, fresh_seconds=5.0, clock=lambda: now)  # type: ignore[arg-type]
    first = await limits.terms(PAYER)
    now = 5.1
    assert await limits.terms(PAYER) is not first


async def test_auth_away_is_a_refusal_unless_the_answer_is_remembered(auth: Auth) -> None:
    limits = RemoteLimits(auth, fresh_seconds=0.0)  # type: ignore[arg-type]
    known = await limits.terms(PAYER)
    auth.away = True
    assert await limits.terms(PAYER) is known
    with pytest.raises(QuotaUnavailable):
        await limits.terms(Payer("tenant-1", "user-2"))


@pytest.mark.parametrize(
    "text", ["user/01ARZ3NDEKTSV4RRFFQ69G5FAV", "role/user", "model/org/Name-1", "key/k", "default", "tenant"]
)
def test_a_subject_and_its_text_are_the_same(text: str) -> None:
    assert subject_text(subject_from(text)) == text


@pytest.mark.parametrize("text", ["", "user", "user/", "group/x", "default/x"])
def test_what_is_no_subject_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="subject"):
        subject_from(text)
