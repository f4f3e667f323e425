"""What the platform tells of itself, from memory, with the refusals of the scripted administration."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parley.inference.v1 import inference_service_pb2, inference_service_pb2_grpc, model_pb2
from parley.tools.v1 import stats_pb2, tool_service_pb2, tool_service_pb2_grpc
from tests.web.scripted_auth import NOW, ScriptedAuth, ulid

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class ScriptedHealth(health_pb2_grpc.HealthServicer):
    """Serves all but what `ScriptedAuth.ill` names."""

    def __init__(self, auth: ScriptedAuth) -> None:
        self._auth = auth

    async def Check(self, request: Any, context: Any) -> health_pb2.HealthCheckResponse:
        return health_pb2.HealthCheckResponse(
            status=NOT_SERVING if request.service in self._auth.ill else SERVING
        )


class ScriptedModels(inference_service_pb2_grpc.InferenceServiceServicer):
    """Answers from `ScriptedAuth.models`."""

    def __init__(self, auth: ScriptedAuth) -> None:
        self._auth = auth

    async def ListModels(self, request: Any, context: Any) -> inference_service_pb2.ListModelsResponse:
        await self._auth.enter(request, context)
        return inference_service_pb2.ListModelsResponse(models=[told.model for told in self._auth.models])

    async def GetModel(self, request: Any, context: Any) -> inference_service_pb2.GetModelResponse:
        await self._auth.enter(request, context)
        return next(told for told in self._auth.models if told.model.name == request.name)


class ScriptedStats(tool_service_pb2_grpc.ToolServiceServicer):
    """Answers from `ScriptedAuth.stats`."""

    def __init__(self, auth: ScriptedAuth) -> None:
        self._auth = auth

    async def GetStats(self, request: Any, context: Any) -> tool_service_pb2.GetStatsResponse:
        await self._auth.enter(request, context)
        return self._auth.stats


def add_status(auth: ScriptedAuth, server: grpc.aio.Server) -> None:
    """Serve all of it."""
    health_pb2_grpc.add_HealthServicer_to_server(ScriptedHealth(auth), server)
    inference_service_pb2_grpc.add_InferenceServiceServicer_to_server(ScriptedModels(auth), server)
    tool_service_pb2_grpc.add_ToolServiceServicer_to_server(ScriptedStats(auth), server)


def served() -> list[inference_service_pb2.GetModelResponse]:
    """A model on two replicas, one that loads, and an alias."""
    busy = model_pb2.EngineStatus(
        running_requests=48,
        waiting_requests=3,
        slots=64,
        kv_cache_use=0.62,
        prefix_queries=1000,
        prefix_hits=815,
        preemptions=2,
    )
    idle = model_pb2.EngineStatus(slots=64)
    ready, loading = model_pb2.MODEL_STATE_READY, model_pb2.MODEL_STATE_LOADING
    replicas = [
        model_pb2.ReplicaStatus(replica_id=ulid(4001), state=ready, engine_status=busy),
        model_pb2.ReplicaStatus(replica_id=ulid(4002), state=ready, engine_status=idle),
    ]
    return [
        inference_service_pb2.GetModelResponse(
            model=model_pb2.Model(name="parley-demo", is_default=True, state=ready), replicas=replicas
        ),
        inference_service_pb2.GetModelResponse(
            model=model_pb2.Model(name="gpt-oss-20b", state=loading),
            replicas=[model_pb2.ReplicaStatus(replica_id=ulid(4003), state=loading)],
        ),
        inference_service_pb2.GetModelResponse(
            model=model_pb2.Model(name="assistant", is_alias=True, state=ready)
        ),
    ]


def called() -> tool_service_pb2.GetStatsResponse:
    """Calls of two tools, some of them failed."""
    late = stats_pb2.ReasonCount(reason="TOOL_TIMEOUT", calls=6)
    wrong = stats_pb2.ReasonCount(reason="INVALID_ARGUMENTS", calls=1)
    run, most = {"nanos": 12_000_000}, {"seconds": 1, "nanos": 400_000_000}
    return tool_service_pb2.GetStatsResponse(
        since=NOW,
        tools=[
            stats_pb2.ToolStats(
                tool="calculator", stats=stats_pb2.CallStats(calls=412, run_p50=run, run_p95=most)
            ),
            stats_pb2.ToolStats(
                tool="python_run",
                stats=stats_pb2.CallStats(calls=56, errors=[late, wrong], run_p50=most, run_p95=most),
            ),
        ],
        queue=stats_pb2.QueueStats(running=2, waiting=1),
    )
