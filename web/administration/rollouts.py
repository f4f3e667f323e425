"""Rollouts: how variants of what answers compare, and who is given which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parley.inference.v1 import rollout_pb2
from parley.inference.v1.rollout_service_pb2 import CompareRolloutResponse, ListRolloutsRequest
from web.administration.fields import Fields
from web.administration.rollout_figures import figures, plots
from web.administration.room import Action, Notice, Room
from web.administration.visitor import Visitor

MOST = 1000
"""Rollouts that the choice offers; more than a tenant may have."""

MINUTES = 60


class RolloutsRoom(Room):
    """One rollout of the tenant at a time. It is begun from the command line."""

    name = "rollouts"
    label = "Rollouts"
    permission = "inference.rollouts.read"

    def __init__(self, visitor: Visitor) -> None:
        """The first rollout by name."""
        super().__init__(visitor)
        self._rollouts = visitor.client.rollouts
        self._names: Sequence[str] = ()
        self._chosen = ""
        self._compared: CompareRolloutResponse | None = None

    def actions(self) -> Mapping[str, Action]:
        """What can be done with a rollout."""
        return {
            "filter": self._choose,
            "promote": self._promote,
            "rollback": self._rollback,
            "delete": self._delete,
        }

    async def load(self) -> None:
        """Ask which there are, and how the variants of the chosen one compare."""
        self._compared = None
        answer = await self._rollouts.list(ListRolloutsRequest(page_size=MOST))
        self._names = [rollout.name for rollout in answer.rollouts]
        if self._chosen not in self._names:
            self._chosen = next(iter(self._names), "")
        if self._chosen:
            self._compared = await self._rollouts.compare(self._chosen, minutes=MINUTES)

    def shown(self) -> Mapping[str, Any]:
        """The rollout, its figures, and the last hour."""
        compared = self._compared
        measured = compared.variants if compared is not None else ()
        return {
            "filter": Fields({"name": [self._chosen]}),
            "names": [(name, name) for name in self._names],
            "rollout": compared.rollout if compared is not None else None,
            "state": _state(compared.rollout) if compared is not None else "",
            "why": _why(compared.rollout) if compared is not None else "",
            "share": _share,
            "figures": figures(measured),
            "plots": plots(measured, MINUTES),
            "minutes": MINUTES,
        }

    async def _choose(self, fields: Fields) -> None:
        self._chosen = fields.text("name")

    async def _promote(self, fields: Fields) -> None:
        rollout = await self._rollouts.promote(fields.text("name"), fields.text("variant"))
        self.notice = Notice(f"Everybody is given {rollout.serving_variant_name} now.")

    async def _rollback(self, fields: Fields) -> None:
        rollout = await self._rollouts.rollback(fields.text("name"))
        self.notice = Notice(f"Everybody is given {rollout.serving_variant_name} now.")

    async def _delete(self, fields: Fields) -> None:
        await self._rollouts.delete(fields.text("name"))
        self.notice = Notice(f"{fields.text('name')} stands for nothing any more.")


def _state(rollout: rollout_pb2.Rollout) -> str:
    name = rollout_pb2.RolloutState.Name(rollout.state).removeprefix("ROLLOUT_STATE_")
    return name.lower().replace("_", " ")


def _why(rollout: rollout_pb2.Rollout) -> str:
    """Why it was rolled back by itself; nothing where it was not."""
    if not rollout.HasField("breach"):
        return ""
    found = rollout.breach
    name = rollout_pb2.Guardrail.Name(found.guardrail).removeprefix("GUARDRAIL_").lower().replace("_", " ")
    return (
        f"Rolled back by itself: {found.variant_name} had {name} {found.value:.3g}, "
        f"limit {found.limit:.3g}, of {found.samples} samples."
    )


def _share(rollout: rollout_pb2.Rollout, variant: rollout_pb2.RolloutVariant) -> int:
    """Percent of the callers who are given a variant now."""
    if not rollout.serving_variant_name:
        return variant.weight
    return 100 if variant.name == rollout.serving_variant_name else 0
