"""The service of rollouts from memory, with the requests and refusals of the scripted administration."""

from __future__ import annotations

from typing import Any

from parley.inference.v1 import rollout_pb2, rollout_service_pb2, rollout_service_pb2_grpc
from tests.web.scripted_auth import ScriptedAuth


class ScriptedRollouts(rollout_service_pb2_grpc.RolloutServiceServicer):
    """Answers from `ScriptedAuth.rollouts`."""

    def __init__(self, auth: ScriptedAuth) -> None:
        self._auth = auth

    async def CreateRollout(self, request: Any, context: Any) -> rollout_service_pb2.CreateRolloutResponse:
        await self._auth.enter(request, context)
        begun = rollout_pb2.Rollout(
            name=request.name,
            variants=request.variants,
            stable_variant_name=request.variants[0].name,
            state=rollout_pb2.ROLLOUT_STATE_RUNNING,
        )
        self._auth.rollouts.append(rollout_service_pb2.CompareRolloutResponse(rollout=begun))
        return rollout_service_pb2.CreateRolloutResponse(rollout=begun)

    async def ListRollouts(self, request: Any, context: Any) -> rollout_service_pb2.ListRolloutsResponse:
        await self._auth.enter(request, context)
        return rollout_service_pb2.ListRolloutsResponse(rollouts=[e.rollout for e in self._auth.rollouts])

    async def CompareRollout(self, request: Any, context: Any) -> rollout_service_pb2.CompareRolloutResponse:
        await self._auth.enter(request, context)
        return next(each for each in self._auth.rollouts if each.rollout.name == request.name)

    async def PromoteRollout(self, request: Any, context: Any) -> rollout_service_pb2.PromoteRolloutResponse:
        await self._auth.enter(request, context)
        rollout = self._auth.rollouts[0].rollout
        rollout.state = rollout_pb2.ROLLOUT_STATE_PROMOTED
        rollout.serving_variant_name = request.variant_name
        return rollout_service_pb2.PromoteRolloutResponse(rollout=rollout)

    async def DeleteRollout(self, request: Any, context: Any) -> rollout_service_pb2.DeleteRolloutResponse:
        await self._auth.enter(request, context)
        self._auth.rollouts.clear()
        return rollout_service_pb2.DeleteRolloutResponse()


def compared() -> rollout_service_pb2.CompareRolloutResponse:
    """A rollout that was rolled back by itself, with what was measured."""
    variants = [
        rollout_pb2.RolloutVariant(name="plain", model="parley-demo", weight=90),
        rollout_pb2.RolloutVariant(name="brief", model="parley-demo", weight=10),
    ]
    breach = rollout_pb2.GuardrailBreach(
        guardrail=rollout_pb2.GUARDRAIL_ERROR_RATE, variant_name="brief", value=0.25, limit=0.1, samples=60
    )
    rollout = rollout_pb2.Rollout(
        name="assistant",
        variants=variants,
        stable_variant_name="plain",
        serving_variant_name="plain",
        state=rollout_pb2.ROLLOUT_STATE_ROLLED_BACK,
        breach=breach,
    )
    worse = rollout_pb2.FigureDifference(value=0.2, verdict=rollout_pb2.FIGURE_VERDICT_WORSE)
    measured = [
        _measured("plain", rollout_pb2.MeasuredFigure(value=0.05, samples=540)),
        _measured("brief", rollout_pb2.MeasuredFigure(value=0.25, samples=60, difference=worse)),
    ]
    return rollout_service_pb2.CompareRolloutResponse(rollout=rollout, variants=measured)


def _measured(name: str, errors: rollout_pb2.MeasuredFigure) -> rollout_pb2.MeasuredVariant:
    errors.figure = rollout_pb2.VARIANT_FIGURE_ERROR_RATE
    minute = rollout_pb2.MeasuredMinute(runs=errors.samples, figures=[errors])
    minute.time.GetCurrentTime()
    ranged = rollout_pb2.MeasuredFigure()
    ranged.CopyFrom(errors)
    ranged.interval.low, ranged.interval.high = errors.value / 2, errors.value * 2
    kinds = (rollout_pb2.VARIANT_FIGURE_FIRST_TOKEN_P95, rollout_pb2.VARIANT_FIGURE_TOKENS_PER_SECOND)
    more = [rollout_pb2.MeasuredFigure(figure=kind, value=0.5, samples=9) for kind in kinds]
    return rollout_pb2.MeasuredVariant(
        variant_name=name, runs=errors.samples, figures=[ranged, *more], minutes=[minute]
    )
