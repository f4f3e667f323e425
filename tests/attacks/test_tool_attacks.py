"""What models are made to try on the tools, through the real edge and each beside what is right."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from tests.attacks.call_cases import ARGUMENT_TEXTS, MACHINE, NAMES, STREAMS
from tests.attacks.data_cases import ARITHMETIC, FORMATS, PATTERNS, QUERIES
from tests.attacks.database_cases import POSTGRESQL, SQLITE
from tests.attacks.file_cases import FILES, UPLOADS
from tests.attacks.mcp_cases import MCP
from tests.attacks.quota_cases import QUOTAS
from tests.attacks.sandbox_cases import SANDBOX
from tests.attacks.tool_stack import WORKERS
from tests.attacks.tool_target import CANARY, OK, Outcome, ToolAttack, ToolTarget
from tests.attacks.web_cases import ADDRESSES, ANSWERS, REQUESTS
from tests.edge.front import eventually

pytestmark = pytest.mark.slow

ATTACKS = (
    *(*FILES, *UPLOADS, *SANDBOX),
    *(*NAMES, *ARGUMENT_TEXTS, *STREAMS, *MACHINE),
    *(*ARITHMETIC, *FORMATS, *PATTERNS, *QUERIES),
    *(*ADDRESSES, *REQUESTS, *ANSWERS),
    *(*SQLITE, *POSTGRESQL),
    *(*MCP, *QUOTAS),
)
INWARD = re.compile(r"Traceback|services[/.]tools|asyncpg|httpcore|site-packages|\.py\b")


def test_there_are_at_least_eighty_and_none_twice() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= 80


def gets_nothing_out(outcome: Outcome, target: ToolTarget) -> bool:
    """Whether an answer tells nothing of the inside. A program sees its own traceback."""
    is_plain = outcome.code == OK or not INWARD.search(outcome.told)
    return is_plain and not any(word in outcome.told for word in (CANARY, str(target.outside.parent)))


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name.replace(" ", "-"))
async def test_an_attack_is_refused_and_its_neighbour_is_not(
    attack: ToolAttack, tool_target: ToolTarget
) -> None:
    outcome = await attack.strike(tool_target)
    assert (outcome.code, outcome.reason) == attack.refusal, outcome
    assert gets_nothing_out(outcome, tool_target), outcome
    legitimate = await attack.neighbour(tool_target)
    assert (legitimate.code, legitimate.reason) == (OK, ""), legitimate
    tool_target.struck.append(outcome)


@pytest.mark.asyncio(loop_scope="session")
async def test_the_audit_has_all_of_them(tool_target: ToolTarget) -> None:
    wanted = {told_of(outcome) for outcome in tool_target.struck}

    async def all_are_there() -> bool | None:
        return wanted <= {record async for record in records(tool_target)} or None

    assert await eventually(all_are_there)


def told_of(outcome: Outcome) -> tuple[str, str, str]:
    """What the audit shall have of an attack. What the edge refuses it tells in words of its own."""
    by_the_edge = outcome.code == "UNAUTHENTICATED"
    return outcome.request_id, outcome.code, "" if by_the_edge or outcome.code == OK else outcome.reason


async def records(target: ToolTarget) -> AsyncIterator[tuple[str, str, str]]:
    """All that the audit has: request, code and reason."""
    token = ""
    while True:
        query = {"pageSize": "200", "pageToken": token}
        admin = target.platform.admin
        answer = await target.platform.get("audit/records", admin.headers, params=query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        for record in page["records"]:
            event = record["event"]
            by_the_edge = event.get("code") == "UNAUTHENTICATED"
            yield event["requestId"], event.get("code", ""), "" if by_the_edge else event.get("reason", "")
        if not (token := page.get("nextPageToken", "")):
            return


@pytest.mark.asyncio(loop_scope="session")
async def test_nothing_is_left_behind(tool_target: ToolTarget) -> None:
    """No program, no handle, no file: of all that was tried only the workers are there, and take calls."""
    service = tool_target.service

    async def only_workers() -> bool | None:
        below = service.children(recursive=True)
        living = [each.name() for each in below if each.status() != psutil.STATUS_ZOMBIE]
        return len(living) == len(below) <= WORKERS or None

    assert await eventually(only_workers)
    assert (await tool_target.call("calculator", {"expression": "6 * 7"})).result["result"] == 42
    assert not any(strays(tool_target.workspaces))
    assert [*(tool_target.outside.parent / "temporary").iterdir()] == []
    assert [*tool_target.outside.iterdir()] == [tool_target.outside / "secret.txt"]
    assert foreign_handles(service) == []


def strays(workspaces: Path) -> list[Path]:
    """What a call left between the workspaces: half-made folders, drafts, programs' places."""
    runs = workspaces / ".runs"
    return [*workspaces.rglob(".new-*"), *workspaces.rglob(".draft-*"), *runs.iterdir()]


def foreign_handles(service: psutil.Process) -> list[str]:
    """Files that the service holds open beside its log and the machine's own."""
    log = {"/dev/null", "/dev/urandom"}
    opened = {str(link.readlink()) for link in Path(f"/proc/{service.pid}/fd").iterdir() if link.is_symlink()}
    files = {path for path in opened if path.startswith("/") and not path.endswith("tools.log")}
    return sorted(files - log)
