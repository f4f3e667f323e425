"""The catalogue against a scripted tools service on the real contract."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.inference.calling.catalogue import REMEMBERED, Catalogue
from services.rpc.call import Call, enter_call
from services.rpc.errors import DependencyUnavailable
from tests.conftest import TokenMaker
from tests.inference.scripted_tools import ToolsProcess

ALLOWED = ("tools.list", "tools.execute")
PAGES = 5


@pytest.fixture
def call_as(tokens: TokenMaker) -> Any:
    """Makes a caller the current one."""

    def enter(*permissions: str, **changes: Any) -> None:
        principal = tokens.principal(*permissions, **changes)
        signed = tokens.principal(*permissions, **{**changes, "token": tokens.token(principal)})
        enter_call(Call("request-1", "/x", principal=signed))

    return enter


async def test_all_that_can_be_called_is_there_sorted(tools_stub: Any, call_as: Any) -> None:
    call_as(*ALLOWED)
    tools = await Catalogue(tools_stub).tools()
    assert list(tools) == ["broken", "calculator", "danger", "slow"]
    assert tools["calculator"].spec.parameters == {"type": "object"}
    assert [name for name, tool in tools.items() if tool.dangerous] == ["danger"]
    assert tools["danger"].permission == "tools.test.danger"


async def test_a_fresh_answer_is_not_asked_for_again(
    tools_stub: Any, tools_process: ToolsProcess, call_as: Any
) -> None:
    call_as(*ALLOWED)
    catalogue = Catalogue(tools_stub)
    await catalogue.tools()
    call_as(*ALLOWED, user_id="user-2")
    await catalogue.tools()
    assert tools_process.service.listed == PAGES


async def test_other_rights_ask_for_themselves(
    tools_stub: Any, tools_process: ToolsProcess, call_as: Any
) -> None:
    catalogue = Catalogue(tools_stub)
    call_as(*ALLOWED)
    await catalogue.tools()
    call_as("tools.*")
    await catalogue.tools()
    call_as(*ALLOWED, tenant_id="tenant-2")
    await catalogue.tools()
    assert tools_process.service.listed == 3 * PAGES


async def test_an_old_answer_serves_while_the_service_is_away(
    tools_stub: Any, tools_process: ToolsProcess, call_as: Any
) -> None:
    call_as(*ALLOWED)
    catalogue = Catalogue(tools_stub, fresh_seconds=0)
    known = await catalogue.tools()
    await tools_process.server.stop()
    assert await catalogue.tools() == known


async def test_an_old_answer_serves_while_the_service_is_slow(
    tools_stub: Any, tools_process: ToolsProcess, call_as: Any
) -> None:
    call_as(*ALLOWED)
    catalogue = Catalogue(tools_stub, fresh_seconds=0, fetch_seconds=0.05, first_fetch_seconds=30)
    known = await catalogue.tools()
    tools_process.service.lists.clear()
    assert await catalogue.tools() == known


async def test_a_slow_first_answer_is_waited_for(
    tools_stub: Any, tools_process: ToolsProcess, call_as: Any
) -> None:
    call_as(*ALLOWED)
    catalogue = Catalogue(tools_stub, fetch_seconds=0.05, first_fetch_seconds=30)
    tools_process.service.lists.clear()
    asyncio.get_running_loop().call_later(0.2, tools_process.service.lists.set)
    assert "calculator" in await catalogue.tools()


async def test_an_answer_can_grow_too_old(tools_stub: Any, tools_process: ToolsProcess, call_as: Any) -> None:
    call_as(*ALLOWED)
    catalogue = Catalogue(tools_stub, fresh_seconds=0, stale_seconds=0)
    await catalogue.tools()
    await tools_process.server.stop()
    with pytest.raises(DependencyUnavailable):
        await catalogue.tools()


async def test_a_caller_who_may_not_list_has_no_tools(tools_stub: Any, call_as: Any) -> None:
    call_as("inference.chat")
    assert await Catalogue(tools_stub).tools() == {}


async def test_memory_is_bounded(tools_stub: Any, tools_process: ToolsProcess, call_as: Any) -> None:
    catalogue = Catalogue(tools_stub)
    for number in range(REMEMBERED + 1):
        call_as("inference.chat", tenant_id=f"tenant-{number}")
        await catalogue.tools()
    call_as(*ALLOWED)
    await catalogue.tools()
    assert tools_process.service.listed == PAGES
    assert len(catalogue) == REMEMBERED
