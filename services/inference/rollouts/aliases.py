"""The aliases that this replica knows, and the variants that callers are given.

Every replica reads the database in a beat, and resolves an alias from what it read last: no chat
waits for the database, and while that is away aliases stand as they stood.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from parley.inference.v1 import rollout_pb2
from services.inference.beat import beating
from services.inference.models import Models, permission
from services.inference.rollouts.errors import VariantElsewhere
from services.inference.rollouts.library import Key, RolloutLibrary
from services.inference.rollouts.metrics import RUNNING
from services.inference.rollouts.variants import Alias, Assignment
from services.rpc.principal import Principal


class Aliases:
    """The aliases of all tenants; none until `keeping` reads some."""

    def __init__(self, models: Models, can_chat: Callable[[str], bool]) -> None:
        """Resolve aliases for a replica.

        Args:
            models: The models of this replica.
            can_chat: Whether some pool has a model ready for chats.
        """
        self._models = models
        self._can_chat = can_chat
        self._known: Mapping[tuple[str, str], Alias] = {}
        self._read: frozenset[Key] = frozenset()

    def running(self) -> list[Alias]:
        """The aliases, of all tenants, whose callers are shared out."""
        return [alias for alias in self._known.values() if not alias.serving]

    def shadowed(self) -> set[str]:
        """The models, of all tenants, that are asked in the shadow of others."""
        variants = (variant for alias in self.running() for variant in alias.variants)
        return {variant.model for variant in variants if variant.shadow_percent}

    def of(self, caller: Principal) -> list[tuple[str, frozenset[str]]]:
        """The aliases of a caller's tenant, with the models that they stand for."""
        return [
            (alias.name, alias.models)
            for (tenant_id, _), alias in self._known.items()
            if tenant_id == caller.tenant_id
        ]

    def assigned(self, name: str, caller: Principal) -> Assignment | None:
        """The variant that a caller is given; None where the caller's tenant has no such alias.

        A model that came to have the alias's name goes before it. The models of all variants are
        asked for, so that who is refused does not depend on chance. Where no pool has the model of
        a variant ready, the stable one answers.

        Raises:
            PermissionMissing: The caller may not use a model of the alias.
            VariantElsewhere: Another pool serves the variant.
        """
        alias = self._known.get((caller.tenant_id, name))
        if alias is None or self._models.has(name):
            return None
        for model in sorted(alias.models):
            caller.require(permission(model))
        variant, missed = alias.given_to(caller.user_id), ""
        if variant.name != alias.stable and not self._can_chat(variant.model):
            variant, missed = alias.variant(alias.stable), variant.name
        if not self._models.has(variant.model):
            raise VariantElsewhere(alias.name, variant.name, variant.model)
        return Assignment(alias, variant, missed)

    @asynccontextmanager
    async def keeping(self, library: RolloutLibrary) -> AsyncIterator[None]:
        """Know what this library holds until the block's end, through any trouble of it."""
        async with beating(
            partial(self.refresh, library),
            "rollouts",
            waits="rollouts stand as they stood",
            failed="rollouts were not read",
        ):
            yield

    async def refresh(self, library: RolloutLibrary) -> None:
        """Read what there is, where anything was changed.

        Raises:
            DependencyUnavailable: The database does not answer.
        """
        changes = await library.changes()
        if changes != self._read:
            self._know(await library.all())
            self._read = changes

    def _know(self, rollouts: Iterable[tuple[str, rollout_pb2.Rollout]]) -> None:
        read = [Alias.read(tenant_id, rollout) for tenant_id, rollout in rollouts]
        self._known = {(alias.tenant_id, alias.name): alias for alias in read}
        RUNNING.set(len(self.running()))
