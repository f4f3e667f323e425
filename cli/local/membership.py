"""Replicas that join and leave a stack while its streams run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from cli.failures import CommandError, ExitCode
from cli.local.child import ChildSpec
from cli.local.control import AddReplicas, ReloadModel, RemoveReplica, ReplicaState, Request
from cli.local.edge import EdgePools
from cli.local.model import ModelChoice, choose_model
from cli.local.pools import Pools, Replica, RunningPool
from cli.local.preflight import available_bytes, check_memory, replica_bytes
from cli.local.resources import CoreShare, further_share
from cli.local.supervisor import Phase, StartFailed, Supervisor

SERVICES_FOLLOW_SECONDS = 2.0
"""Services look every second where the replicas are, so after this none calls one that left."""

NO_ROOM = "End something else, remove a replica, or start with a smaller PARLEY_INFERENCE_KV_CACHE_BYTES."

Tell = Callable[[str], None]


class Membership:
    """Changes which replicas a stack has. One change at a time."""

    def __init__(
        self,
        pools: Pools,
        supervisor: Supervisor,
        edge: EdgePools,
        process: Callable[[Replica], ChildSpec],
        kv_bytes: int | None,
    ) -> None:
        """Change these.

        Args:
            pools: Which there are.
            supervisor: Starts and ends them.
            edge: Gives them calls.
            process: The process of a replica.
            kv_bytes: KV cache of each; None where the engine, on a GPU, says itself whether it fits.
        """
        self._pools = pools
        self._supervisor = supervisor
        self._edge = edge
        self._process = process
        self._kv_bytes = kv_bytes

    async def make(self, request: Request, tell: Tell) -> None:
        """Make the change that was asked for.

        Raises:
            CommandError: It cannot be made.
        """
        match request:
            case AddReplicas():
                await self.add(request.model, request.count, tell)
            case RemoveReplica():
                await self.remove(request.replica, request.seconds, tell)
            case ReloadModel():
                source = choose_model(request.source) if request.source else None
                await self.reload(request.model, source, request.seconds, tell)

    def replicas(self) -> tuple[ReplicaState, ...]:
        """Those that get calls."""
        phases = {process.spec.name: process.phase for process in self._supervisor.processes}
        return tuple(
            ReplicaState(
                name=replica.name,
                model=pool.name,
                source=replica.model.source,
                address=replica.address,
                phase=phases.get(replica.name, Phase.STOPPED),
                cores=replica.cores.cores,
            )
            for pool in self._pools
            for replica in pool.replicas
        )

    async def add(self, model: str, count: int, tell: Tell) -> None:
        """Start replicas of a model, one after another, each of which joins when it is ready.

        Raises:
            CommandError: There is no such pool, or one more does not fit or start.
        """
        pool = self._pools.find(model)
        for _ in range(count):
            await self._join(pool, pool.model, self._free_cores(), tell)

    async def remove(self, name: str, seconds: float, tell: Tell) -> None:
        """End a replica once its streams have ended, and at the latest after this time.

        Raises:
            CommandError: There is none of this name, or it is its pool's last.
        """
        pool, replica = self._pools.of(name)
        if len(pool.replicas) == 1:
            message = f"{name} is the only replica of {pool.name}."
            raise CommandError(message, f"Add another first: `parley replicas add {pool.name}`.")
        await self._leave(pool, replica, seconds, tell)

    async def reload(self, model: str, source: ModelChoice | None, seconds: float, tell: Tell) -> None:
        """Put a fresh replica in the place of each of a model's, one after another.

        Args:
            model: Whose replicas.
            source: What the fresh ones serve under its name; None: the same again.
            seconds: Time that the streams of each of the old ones have to end.
            tell: Told of each step.

        Raises:
            CommandError: There is no such pool, or the model does not fit beside itself, or does not start.
        """
        pool = self._pools.find(model)
        fresh = pool.model if source is None else replace(source, name=pool.name)
        for old in tuple(pool.replicas):
            await self._join(pool, fresh, old.cores, tell)
            pool.model = fresh
            await self._leave(pool, old, seconds, tell)

    async def _join(self, pool: RunningPool, model: ModelChoice, cores: CoreShare, tell: Tell) -> None:
        """Start a replica and give it calls.

        Raises:
            CommandError: It does not fit or start, or the edge does not reach it; nothing of it is left.
        """
        if self._kv_bytes is not None:
            check_memory(replica_bytes(model, self._kv_bytes), available_bytes(), NO_ROOM)
        replica = self._pools.another(model, cores)
        tell(f"{replica.name} starts")
        try:
            await self._supervisor.add(self._process(replica))
        except StartFailed as error:
            remedy = f"Its log has more: logs/{replica.name}.log. The others go on."
            raise CommandError(f"{error}.", remedy, ExitCode.MACHINE) from None
        try:
            self._publish(pool, [*pool.replicas, replica])
        except CommandError:
            await self._supervisor.remove(replica.name, 0)
            raise
        if not await self._edge.until_used(pool.name, replica.address):
            await self._leave(pool, replica, 0, tell)
            message = f"The edge does not reach {replica.name} at {replica.address}."
            raise CommandError(message, "Its log has more: logs/edge.log. The others go on.")
        tell(f"{replica.name} gets calls")

    async def _leave(self, pool: RunningPool, replica: Replica, seconds: float, tell: Tell) -> None:
        """Give a replica no more calls, and end it.

        Raises:
            CommandError: It cannot be written down; the replica goes on.
        """
        self._publish(pool, [other for other in pool.replicas if other is not replica])
        await self._edge.until_left(pool.name, replica.address)
        await asyncio.sleep(SERVICES_FOLLOW_SECONDS)
        tell(f"{replica.name} gets no more calls; those that it has may take {seconds:g} s")
        await self._supervisor.remove(replica.name, seconds)
        tell(f"{replica.name} has ended")

    def _publish(self, pool: RunningPool, replicas: list[Replica]) -> None:
        """Have these replicas of a pool get calls, from the edge and from the services.

        Raises:
            CommandError: It cannot be written down.
        """
        addresses = [replica.address for replica in replicas]
        try:
            self._edge.write(pool.name, addresses)
            self._pools.write_addresses(pool, addresses)
        except OSError as error:
            message = f"Where the replicas of {pool.name} are cannot be written down: {error}"
            raise CommandError(message, "Free the disk, and try again.", ExitCode.MACHINE) from None
        pool.replicas = replicas

    def _free_cores(self) -> CoreShare:
        """The cores of one more replica; none where a GPU does the work."""
        taken = [replica.cores for replica in self._pools.replicas]
        return further_share(taken) if any(share.cores for share in taken) else CoreShare(())
