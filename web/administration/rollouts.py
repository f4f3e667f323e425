"""Rollouts: how variants of what answers compare, and who is given which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parley.inference.v1.rollout_service_pb2 import CompareRolloutResponse, ListRolloutsRequest
from parley_client.rollouts import share, state, why_rolled_back
from web.administration.fields import Fields
from web.administration.rollout_figures import figures, plots
from web.administration.rollout_form import BEGINNING, creation
from web.administration.room import Action, Notice, Room
from web.administration.visitor import Visitor

MOST = 1000
"""Rollouts that the choice offers; more than a tenant may have."""

MINUTES = 60


class RolloutsRoom(Room):
    """One rollout of the tenant at a time: begun, watched, ended."""

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
        self._models: Sequence[str] = ()

    def actions(self) -> Mapping[str, Action]:
        """What can be done with a rollout."""
        return {
            "filter": self._choose,
            "new": self._new,
            "create": self._create,
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
            "state": state(compared.rollout) if compared is not None else "",
            "why": why_rolled_back(compared.rollout) if compared is not None else "",
            "share": share,
            "figures": figures(measured),
            "plots": plots(measured, MINUTES),
            "minutes": MINUTES,
            "models": [(name, name) for name in self._models],
        }

    async def _choose(self, fields: Fields) -> None:
        self._chosen = fields.text("name")

    async def _new(self, _fields: Fields) -> None:
        models = await self._visitor.client.list_models()
        self._models = [each.name for each in models if not (each.is_alias or each.supports_embeddings)]
        self.open_form("create", **BEGINNING)

    async def _create(self, fields: Fields) -> None:
        rollout = await self._rollouts.create(creation(fields))
        self._chosen = rollout.name
        self.notice = Notice(f"{rollout.name} can be asked for like a model now.")

    async def _promote(self, fields: Fields) -> None:
        rollout = await self._rollouts.promote(fields.text("name"), fields.text("variant"))
        self.notice = Notice(f"Everybody is given {rollout.serving_variant_name} now.")

    async def _rollback(self, fields: Fields) -> None:
        rollout = await self._rollouts.rollback(fields.text("name"))
        self.notice = Notice(f"Everybody is given {rollout.serving_variant_name} now.")

    async def _delete(self, fields: Fields) -> None:
        await self._rollouts.delete(fields.text("name"))
        self.notice = Notice(f"{fields.text('name')} stands for nothing any more.")
