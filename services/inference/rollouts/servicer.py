"""Serves `parley.inference.v1.RolloutService`."""

from __future__ import annotations

from parley.inference.v1 import rollout_pb2
from parley.inference.v1 import rollout_service_pb2 as pb2
from parley.inference.v1.rollout_service_pb2_grpc import RolloutServiceServicer
from services.inference.errors import RunNotFound
from services.inference.models import permission
from services.inference.replicas.directory import ModelDirectory
from services.inference.rollouts.aliases import Aliases
from services.inference.rollouts.comparing import compared
from services.inference.rollouts.counts import Counts
from services.inference.rollouts.creating import check_models, chosen, new_rollout
from services.inference.rollouts.errors import RolloutInvalid, RolloutsOff
from services.inference.rollouts.library import RolloutLibrary
from services.inference.runs.registry import Owner
from services.rpc.call import current_principal
from services.rpc.interceptors.around import Context
from services.rpc.listing import Listing
from services.rpc.pages import PageTokens

VERDICTS = {pb2.FEEDBACK_VERDICT_UP: "up", pb2.FEEDBACK_VERDICT_DOWN: "down"}


class RolloutServicer(RolloutServiceServicer):
    """Begins, shows and ends rollouts of the caller's tenant."""

    def __init__(
        self,
        library: RolloutLibrary | None,
        aliases: Aliases,
        directory: ModelDirectory,
        pages: PageTokens,
        counts: Counts,
    ) -> None:
        """Serve these rollouts.

        Args:
            library: Keeps them; None where the deployment has no database.
            aliases: What this replica knows of them; it learns at once of what is changed here.
            directory: The models of all pools.
            pages: Makes and reads page tokens.
            counts: What is known of variants.
        """
        self._counts = counts
        self._kept = library
        self._aliases = aliases
        self._directory = directory
        self._pages = pages

    @property
    def _library(self) -> RolloutLibrary:
        """What keeps the rollouts.

        Raises:
            RolloutsOff: Nothing does.
        """
        if self._kept is None:
            raise RolloutsOff
        return self._kept

    async def CreateRollout(
        self, request: pb2.CreateRolloutRequest, context: Context
    ) -> pb2.CreateRolloutResponse:
        """See the contract."""
        library, rollout = self._library, new_rollout(request)
        if self._directory.knows(rollout.name):
            raise RolloutInvalid("name", f"{rollout.name!r} is a model's")
        for variant in rollout.variants:
            if variant.shadow_percent:
                # Callers need no permission for it, and nobody pays: whoever begins it answers for that.
                current_principal().require(permission(variant.model))
        check_models(rollout, self._directory.can_chat)
        begun = await library.create(_tenant(), rollout)
        await self._aliases.refresh(library)
        return pb2.CreateRolloutResponse(rollout=begun)

    async def GetRollout(self, request: pb2.GetRolloutRequest, context: Context) -> pb2.GetRolloutResponse:
        """See the contract."""
        return pb2.GetRolloutResponse(rollout=await self._library.get(_tenant(), request.name))

    async def CompareRollout(
        self, request: pb2.CompareRolloutRequest, context: Context
    ) -> pb2.CompareRolloutResponse:
        """See the contract."""
        rollout = await self._library.get(_tenant(), request.name)
        total = await self._counts.total(rollout.rollout_id)
        minutes = await self._counts.by_minute(rollout.rollout_id, request.minutes) if request.minutes else []
        return pb2.CompareRolloutResponse(rollout=rollout, variants=compared(rollout, total, minutes))

    async def ListRollouts(
        self, request: pb2.ListRolloutsRequest, context: Context
    ) -> pb2.ListRolloutsResponse:
        """See the contract."""
        listing = Listing(self._pages, request, current_principal())
        found = await self._library.page(_tenant(), listing.after, listing.fetched)
        shown, token = listing.cut(found, lambda each: each.name)
        return pb2.ListRolloutsResponse(rollouts=shown, next_page_token=token)

    async def PromoteRollout(
        self, request: pb2.PromoteRolloutRequest, context: Context
    ) -> pb2.PromoteRolloutResponse:
        """See the contract."""
        library = self._library
        promoted = await library.give(
            _tenant(),
            request.name,
            rollout_pb2.ROLLOUT_STATE_PROMOTED,
            lambda rollout: chosen(rollout, request.variant_name, self._directory.can_chat),
        )
        await self._aliases.refresh(library)
        return pb2.PromoteRolloutResponse(rollout=promoted)

    async def RollbackRollout(
        self, request: pb2.RollbackRolloutRequest, context: Context
    ) -> pb2.RollbackRolloutResponse:
        """See the contract."""
        library = self._library
        back = await library.give(
            _tenant(),
            request.name,
            rollout_pb2.ROLLOUT_STATE_ROLLED_BACK,
            lambda rollout: rollout.stable_variant_name,
        )
        await self._aliases.refresh(library)
        return pb2.RollbackRolloutResponse(rollout=back)

    async def DeleteRollout(
        self, request: pb2.DeleteRolloutRequest, context: Context
    ) -> pb2.DeleteRolloutResponse:
        """See the contract."""
        library = self._library
        await library.delete(_tenant(), request.name)
        await self._aliases.refresh(library)
        return pb2.DeleteRolloutResponse()

    async def GiveFeedback(
        self, request: pb2.GiveFeedbackRequest, context: Context
    ) -> pb2.GiveFeedbackResponse:
        """See the contract."""
        run = await self._counts.run(request.run_id, Owner.of(current_principal()))
        if run is None:
            raise RunNotFound(request.run_id)
        await self._counts.give_feedback(run, VERDICTS[request.verdict])
        return pb2.GiveFeedbackResponse()


def _tenant() -> str:
    return current_principal().tenant_id
