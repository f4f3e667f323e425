"""Ends runs while their tool runs, whatever the model: its call needs no arguments, and is forced."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from cli.bench.cuts import Cut, Times, Way, outlived
from cli.bench.visits import TOOL, VISIT_SECONDS, EndlessTool, Visit
from cli.failures import CommandError
from parley.inference.v1 import chat_pb2
from parley_client.client import Client, question

SERVER = "bench"
CALLED = f"mcp__{SERVER}__{TOOL}"
FORCED = 100.0
PATIENCE_SECONDS = 3600


class ToolNotCalled(CommandError):
    """A run whose tool did not run."""


def tool_settings(tool: EndlessTool) -> Mapping[str, str]:
    """How the tools service is told of the tool: as safe, so that nobody need approve of it."""
    server = {"url": tool.url, "lowest_safety_level": "safe", "timeout_seconds": PATIENCE_SECONDS}
    return {"PARLEY_TOOLS_MCP_SERVERS": json.dumps({SERVER: server})}


async def tool_times(client: Client, tool: EndlessTool, samples: int, name: str = CALLED) -> Times:
    """How many milliseconds a tool ran on after its run's end, by the way in which that was ended.

    Args:
        client: Asks.
        tool: What the runs wait for.
        samples: Runs to end in each way.
        name: The tool, as the platform has it.

    Raises:
        ToolNotCalled: A run was over before its tool ran.
        ParleyError: A run failed.
    """
    cutting = _CuttingTools(client, tool, await _calling(client, name))
    began = time.monotonic()
    await cutting.end(Way.GONE)
    deadline = 2 * (time.monotonic() - began) + 0.3
    times: Times = defaultdict(list)
    for _ in range(samples):
        for way in (Way.GONE, Way.CANCEL):
            times["tool", way].append(await cutting.end(way))
        with suppress(ToolNotCalled):  # A deadline may come too early on a machine that is busy.
            times["tool", Way.DEADLINE].append(await cutting.outlive(deadline))
    return times


async def _calling(client: Client, name: str) -> chat_pb2.ChatRequest:
    """A question whose answer is a call without arguments.

    The grammar of a forced call takes any object, and a small model may never
    close one; so the tokens that do are made likely wherever they may stand.
    No grammar holds reasoning, in which they would stand for ever.
    """
    request = question("Wait.", all_tools=False)
    request.server_tools.names.append(name)
    request.tool_choice.name = name
    request.parallel_tool_calls = False
    request.reasoning.enabled = False
    request.sampling.temperature = 0  # The call is written once, and then comes from the cache.
    for token in await client.tokenize("{}"):
        request.sampling.logit_bias[token] = FORCED
    return request


@dataclass(frozen=True)
class _CuttingTools:
    """Ends runs, each when the tool has its call."""

    client: Client
    tool: EndlessTool
    request: chat_pb2.ChatRequest

    async def end(self, way: Way) -> float:
        """Milliseconds from a run's end to that of its tool; see `_called` for what it raises."""
        run_id: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        run = asyncio.create_task(self._read(run_id))
        visit = await self._called(run)
        seconds = time.time()
        if way is Way.GONE:
            run.cancel()
        else:
            await self.client.cancel(await run_id)
        await asyncio.wait({run})
        return await _after(seconds, visit)

    async def outlive(self, deadline: float) -> float:
        """Milliseconds from a run's deadline, in so many seconds, to the end of its tool."""
        run = asyncio.create_task(outlived(self.client, self.request, deadline))
        visit = await self._called(run)
        return await _after((await run).seconds, visit)

    async def _read(self, run_id: asyncio.Future[str]) -> str:
        """Read a run to its end; gives that."""
        ended = ""
        async with self.client.chat(self.request) as events:
            async for event in events:
                if event.HasField("started"):
                    run_id.set_result(event.started.run_id)
                elif event.HasField("finished"):
                    ended = chat_pb2.FinishReason.Name(event.finished.reason)
        return ended

    async def _called(self, run: asyncio.Task[str] | asyncio.Task[Cut]) -> Visit:
        """The call of a run's tool.

        Raises:
            ToolNotCalled: There is none: the run is over, or takes too long.
            ParleyError: The run failed.
        """
        visit = asyncio.create_task(self.tool.visit())
        await asyncio.wait({run, visit}, timeout=VISIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if visit.done():
            return visit.result()
        visit.cancel()
        if run.done():
            ended = run.result()
            how = f": {ended}" if isinstance(ended, str) else ""
            raise ToolNotCalled(f"The run was over before its tool ran{how}.")
        run.cancel()
        raise ToolNotCalled(f"The tool did not run within {VISIT_SECONDS:g} s.")


async def _after(seconds: float, visit: Visit) -> float:
    """Milliseconds from a run's end to that of its tool."""
    async with asyncio.timeout(VISIT_SECONDS):
        return 1000 * (await visit - seconds)
