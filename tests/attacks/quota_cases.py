"""More than a limit gives: by many calls at once, and by a call that was let in before."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from tests.attacks.tool_target import OK, Outcome, ToolAttack, ToolTarget, invocation

LIMITED = ("RESOURCE_EXHAUSTED", "RATE_LIMITED")
ALLOWED, AT_ONCE = 3, 12
SUM = {"expression": "1 + 1"}


async def limited(target: ToolTarget, requests: int) -> str:
    """The name of a new person who may make so many requests a minute."""
    name = await target.newcomer()
    subject = {"userId": target.person(name).user_id}
    body = {"quota": {"subject": subject, "limits": {"requestsPerMinute": str(requests)}}}
    answer = await target.platform.post("quotas:set", body, target.platform.admin.headers)
    assert answer.status_code == 200, answer.text
    return name


async def many_at_once(target: ToolTarget) -> Outcome:
    """As many get in as the limit says, whoever comes first."""
    who = await limited(target, ALLOWED)
    ended = await asyncio.gather(*(target.call("calculator", SUM, who) for _ in range(AT_ONCE)))
    refused = [outcome for outcome in ended if outcome.code != OK]
    assert len(refused) == AT_ONCE - ALLOWED, ended
    return refused[0]


async def as_many_as_allowed(target: ToolTarget) -> Outcome:
    who = await limited(target, ALLOWED)
    return (await asyncio.gather(*(target.call("calculator", SUM, who) for _ in range(ALLOWED))))[-1]


async def sent_again(target: ToolTarget) -> Outcome:
    """The very request that was let in, under its own id: what it reserved is not had twice."""
    headers = {**target.person(await limited(target, 1)).headers, "x-request-id": str(uuid4())}
    request = invocation("calculator", SUM)
    assert (await target.execute(headers, request)).code == OK
    return await target.execute(headers, request)


async def sent_once(target: ToolTarget) -> Outcome:
    return await target.call("calculator", SUM, await limited(target, 1))


QUOTAS = (
    ToolAttack("a quota raced by many calls at once", many_at_once, LIMITED, as_many_as_allowed),
    ToolAttack("a reserve replayed", sent_again, LIMITED, sent_once),
)
