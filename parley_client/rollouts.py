"""Rollouts of the caller's tenant: aliases, and the variants that they stand for."""

from __future__ import annotations

import grpc

from parley.inference.v1 import rollout_pb2
from parley.inference.v1 import rollout_service_pb2 as pb2
from parley.inference.v1.rollout_service_pb2_grpc import RolloutServiceStub
from parley_client.caller import Caller


class Rollouts:
    """What `RolloutService` does for one caller.

    Lists come a page at a time; `parley_client.caller.pages` gives them all.
    Every method raises `ParleyError` when the call does not end well.
    """

    def __init__(self, channel: grpc.aio.Channel, caller: Caller) -> None:
        self._caller = caller
        self._stub = RolloutServiceStub(channel)

    async def create(self, request: pb2.CreateRolloutRequest) -> rollout_pb2.Rollout:
        """Begins a rollout."""
        return (await self._caller.unary(self._stub.CreateRollout, request)).rollout

    async def get(self, name: str) -> rollout_pb2.Rollout:
        """Gives a rollout."""
        return (await self._caller.unary(self._stub.GetRollout, pb2.GetRolloutRequest(name=name))).rollout

    async def compare(self, name: str, *, minutes: int = 0) -> pb2.CompareRolloutResponse:
        """Compares the variants of a rollout; the last minutes one by one, where they are asked for."""
        request = pb2.CompareRolloutRequest(name=name, minutes=minutes)
        return await self._caller.unary(self._stub.CompareRollout, request)

    async def list(self, request: pb2.ListRolloutsRequest) -> pb2.ListRolloutsResponse:
        """Lists rollouts by name."""
        return await self._caller.unary(self._stub.ListRollouts, request)

    async def promote(self, name: str, variant_name: str = "") -> rollout_pb2.Rollout:
        """Gives everybody a variant: by default the one beside the stable one."""
        request = pb2.PromoteRolloutRequest(name=name, variant_name=variant_name)
        return (await self._caller.unary(self._stub.PromoteRollout, request)).rollout

    async def rollback(self, name: str) -> rollout_pb2.Rollout:
        """Gives everybody the stable variant."""
        request = pb2.RollbackRolloutRequest(name=name)
        return (await self._caller.unary(self._stub.RollbackRollout, request)).rollout

    async def delete(self, name: str) -> None:
        """Takes an alias away, if it is there."""
        await self._caller.unary(self._stub.DeleteRollout, pb2.DeleteRolloutRequest(name=name))

    async def give_feedback(self, run_id: str, *, good: bool) -> None:
        """Says what the caller thinks of an answer that a variant gave; the last that is said counts."""
        verdict = pb2.FEEDBACK_VERDICT_UP if good else pb2.FEEDBACK_VERDICT_DOWN
        request = pb2.GiveFeedbackRequest(run_id=run_id, verdict=verdict)
        await self._caller.unary(self._stub.GiveFeedback, request)


def state(rollout: rollout_pb2.Rollout) -> str:
    """How a rollout stands, in words."""
    name = rollout_pb2.RolloutState.Name(rollout.state).removeprefix("ROLLOUT_STATE_")
    return name.lower().replace("_", " ")


def share(rollout: rollout_pb2.Rollout, variant: rollout_pb2.RolloutVariant) -> int:
    """Percent of the callers who are given a variant now."""
    if not rollout.serving_variant_name:
        return variant.weight
    return 100 if variant.name == rollout.serving_variant_name else 0


def why_rolled_back(rollout: rollout_pb2.Rollout) -> str:
    """Why a rollout was rolled back by itself, as a sentence; empty where it was not."""
    if not rollout.HasField("breach"):
        return ""
    found = rollout.breach
    name = rollout_pb2.Guardrail.Name(found.guardrail).removeprefix("GUARDRAIL_").lower().replace("_", " ")
    return (
        f"Rolled back by itself: {found.variant_name} had {name} {found.value:.3g}, "
        f"limit {found.limit:.3g}, of {found.samples} samples."
    )
