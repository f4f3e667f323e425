"""What a caller makes of an answer, in any of its protocols."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import pytest

from services.rpc.errors import error_info, status_of
from tests.edge.front import eventually


@dataclass(frozen=True)
class Refused:
    """A typed refusal.

    Attributes:
        code: Canonical status code.
        reason: `google.rpc.ErrorInfo.reason`; empty where there is none.
        message: What it says.
    """

    code: int
    reason: str
    message: str


async def refused(call: Awaitable[Any]) -> Refused:
    """The refusal that a gRPC call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = status_of(caught.value)
    info = error_info(status)
    return Refused(status.code, info.reason if info else "", status.message)


def refusal(answer: httpx.Response) -> Refused:
    """The refusal that a JSON body tells, always of the shape of google.rpc.Status."""
    assert answer.headers["content-type"] == "application/json", answer.text
    body = answer.json()
    assert set(body) == {"code", "message", "details"}, body
    reasons = [detail["reason"] for detail in body["details"] if detail["@type"].endswith(".ErrorInfo")]
    return Refused(body["code"], reasons[0] if reasons else "", body["message"])


async def until_ended(ask: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """The refusal of a key that was just revoked, which the edge may take for a moment yet."""

    async def refused_at_last() -> httpx.Response | None:
        answer = await ask()
        return answer if answer.status_code == 401 and refusal(answer).reason != "TOKEN_REVOKED" else None

    return await eventually(refused_at_last)
