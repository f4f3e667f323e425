"""What attackers try on identity and permission, each through the real edge and each beside what is right."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from tests.attacks.administration_cases import ADMINISTRATION
from tests.attacks.input_cases import HEADERS, MESH, NUMBERS, QUOTAS, TEXTS
from tests.attacks.key_cases import KEYS, SESSIONS
from tests.attacks.target import Attack, Target
from tests.attacks.token_cases import TOKENS
from tests.edge.answers import refusal
from tests.edge.front import eventually

pytestmark = pytest.mark.slow

ATTACKS = (*TOKENS, *KEYS, *SESSIONS, *ADMINISTRATION, *NUMBERS, *TEXTS, *HEADERS, *QUOTAS, *MESH)
AUDIT_SECONDS = 10
INWARD = re.compile(
    r"Traceback|sqlalchemy|sqlite|SELECT |services[/.]auth|/home/|/tmp/|\.py\b", re.IGNORECASE
)


def test_there_are_at_least_sixty_and_none_twice() -> None:
    """Spellings of one mechanism count once."""
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
    assert len({attack.mechanism for attack in ATTACKS}) >= 60


async def audited(target: Target, request_id: str) -> list[dict[str, Any]]:
    """What the audit has of a request that did not go well, once it is written."""

    async def look() -> list[dict[str, Any]] | None:
        query = {"filter.requestId": request_id}
        answer = await target.get("audit/records", target.admin.headers, params=query)
        events = [record["event"] for record in answer.json().get("records", [])]
        return [event for event in events if event.get("code") != "OK" or event.get("reason")] or None

    async with asyncio.timeout(AUDIT_SECONDS):
        return await eventually(look)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name.replace(" ", "-"))
async def test_an_attack_is_refused_and_its_neighbour_is_not(attack: Attack, target: Target) -> None:
    answer = await attack.strike(target)
    assert (answer.status_code, refusal(answer).reason) == attack.refusal, answer.text
    assert not INWARD.search(answer.text)
    assert await audited(target, answer.headers["x-request-id"])
    legitimate = await attack.neighbour(target)
    assert legitimate.status_code == 200, legitimate.text


@pytest.mark.asyncio(loop_scope="session")
async def test_unknown_and_wrong_keys_are_told_alike(target: Target) -> None:
    """Whether a prefix exists is not told."""
    made = (await target.key(target.user))["secret"]
    wrong, unknown = f"{made[:20]}{made[20:][::-1]}", f"parley_{'0' * 10}{made[17:]}"
    answers = [await target.me(secret) for secret in (wrong, unknown)]
    assert answers[0].text == answers[1].text
    assert [answer.status_code for answer in answers] == [401, 401]
