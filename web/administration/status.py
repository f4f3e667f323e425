"""The state of the platform, while it is looked at: services, models and their replicas, tools."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parley.inference.v1 import model_pb2
from parley.tools.v1 import tool_service_pb2
from parley_client.errors import ParleyError, from_rpc_error
from web.administration.fields import Fields
from web.administration.room import Action, Room
from web.administration.status_figures import Pool, Recent, pool, tool_lines
from web.administration.visitor import Visitor

EVERY_SECONDS = 4
"""Time between two looks of a page that is in front."""

ASK_SECONDS = 3.0
"""Time that each question may take; what has no answer by then is shown as such."""

MOST_MODELS = 24
MOST_TOOLS = 12
AT_ONCE = 8
"""Models that are asked after at the same time."""

SERVICES = {
    "Identity": "parley.auth.v1.SessionService",
    "Tools": "parley.tools.v1.ToolService",
    "Inference": "parley.inference.v1.InferenceService",
}

_HEALTH = {
    health_pb2.HealthCheckResponse.SERVING: ("done", "serving"),
    health_pb2.HealthCheckResponse.NOT_SERVING: ("failed", "not serving"),
}

Answer = TypeVar("Answer")


class StatusRoom(Room):
    """One look at everything. Each part has its own trouble: what answers is shown."""

    name = "status"
    label = "Status"
    permission = "tools.stats.read"

    def __init__(self, visitor: Visitor, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing was looked at yet; `clock` gives seconds of a steady clock."""
        super().__init__(visitor)
        self._clock = clock
        self._health = health_pb2_grpc.HealthStub(visitor.client.channel)
        self._recent = Recent()
        self._services: Sequence[tuple[str, str, str]] = ()
        self._models: list[model_pb2.Model] | ParleyError = []
        self._pools: Sequence[Pool] = ()
        self._tools: tool_service_pb2.GetStatsResponse | ParleyError | None = None

    def actions(self) -> Mapping[str, Action]:
        """Looking again, which happens by itself."""
        return {"refresh": self._again}

    async def load(self) -> None:
        """Ask everybody at once."""
        services, (models, pools), tools = await asyncio.gather(
            asyncio.gather(*map(self._serves, SERVICES)),
            self._ask_models(),
            _asked(self._visitor.client.tool_stats()),
        )
        self._services, self._models, self._pools, self._tools = services, models, pools, tools
        if not isinstance(tools, ParleyError):
            self._recent.read(self._clock(), tools.tools)
        troubles = (each for each in (models, tools) if isinstance(each, ParleyError))
        self.trouble = self.trouble or next(troubles, None)

    def shown(self) -> Mapping[str, Any]:
        """All of it, and when that was."""
        told = None if isinstance(self._tools, ParleyError) else self._tools
        models = [] if isinstance(self._models, ParleyError) else self._models
        return {
            "every": EVERY_SECONDS,
            "time": f"{datetime.now(UTC):%H:%M:%S}",
            "services": self._services,
            "pools": self._pools,
            "left_out": len(models) - len(self._pools),
            "tools": tool_lines(told, MOST_TOOLS) if told is not None else (),
            "queue": told.queue if told is not None else None,
            "since": told.since if told is not None else None,
            "recent": self._recent.words,
        }

    async def _again(self, _fields: Fields) -> None:
        """What is on show is asked for after every action anyway."""

    async def _serves(self, name: str) -> tuple[str, str, str]:
        """A service, the mark of its state, and the state in words."""
        request = health_pb2.HealthCheckRequest(service=SERVICES[name])
        try:
            answer = await self._health.Check(request, timeout=ASK_SECONDS)
        except grpc.aio.AioRpcError as error:
            return name, "failed", f"no answer ({from_rpc_error(error).code.name})"
        return name, *_HEALTH.get(answer.status, ("failed", "unknown"))

    async def _ask_models(self) -> tuple[list[model_pb2.Model] | ParleyError, list[Pool]]:
        """The models, and how the replicas of the first of them are doing."""
        models = await _asked(self._visitor.client.list_models())
        if isinstance(models, ParleyError):
            return models, []
        models, door = [model for model in models if not model.is_alias], asyncio.Semaphore(AT_ONCE)

        async def ask(model: model_pb2.Model) -> Pool:
            async with door:
                told = await _asked(self._visitor.client.get_model(model.name))
            return pool(model, None if isinstance(told, ParleyError) else told)

        return models, await asyncio.gather(*map(ask, models[:MOST_MODELS]))


async def _asked(question: Awaitable[Answer]) -> Answer | ParleyError:
    """An answer, or why there is none within its time."""
    try:
        async with asyncio.timeout(ASK_SECONDS):
            return await question
    except ParleyError as error:
        return error
    except TimeoutError:
        return ParleyError(grpc.StatusCode.DEADLINE_EXCEEDED, "There was no answer in time.")
