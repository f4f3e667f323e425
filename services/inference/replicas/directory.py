"""Which models there are: those of this process, and those that other replicas tell the store of.

Envoy sends a call to the pool that has the model it names, and a call that names none, or lists
models, to any. So each replica writes its own models into one hash of the store, with the time
until which that holds, and reads what the others wrote. Listing waits for nobody: it shows what was
read last.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress

import structlog
from google.protobuf.message import DecodeError
from redis.asyncio import Redis
from redis.exceptions import RedisError
from ulid import ULID

from parley.inference.v1 import model_pb2
from services.inference.models import Models, permission
from services.inference.replicas.noticeboard import LIFE_SECONDS, Noticeboard
from services.inference.translation import models as translate_models
from services.rpc.principal import Principal
from services.rpc.tasks import end_task

HASH = "parley:inference:models"
REPLICAS_HASH = "parley:inference:replicas"
BEAT_SECONDS = 2.0
STORE_SECONDS = 2.0

# Of a model's replicas the one that does best is shown.
_BEST = (model_pb2.MODEL_STATE_READY, model_pb2.MODEL_STATE_LOADING, model_pb2.MODEL_STATE_FAILED)

Aliases = Callable[[Principal], Iterable[tuple[str, frozenset[str]]]]


class ModelDirectory:
    """The models of all pools, for those who may use them."""

    def __init__(self, models: Models) -> None:
        """Know the models of this process alone, until `keeping` learns of others."""
        self.aliases: Aliases = lambda _: ()
        """What a caller may ask for beside models, and the models that it stands for."""
        self._models = models
        self._elsewhere: dict[str, model_pb2.Model] = {}
        self._others: dict[str, list[model_pb2.ReplicaStatus]] = {}
        self._told_models, self._told_replicas = Noticeboard(HASH), Noticeboard(REPLICAS_HASH)
        self._replica = str(ULID())
        self._log = structlog.get_logger("parley.inference")

    def permitted(self, caller: Principal) -> list[model_pb2.Model]:
        """The models and aliases that a caller may use, by name."""
        own = {served.name: translate_models.model(served) for served in self._models.permitted(caller)}
        others = {name: model for name, model in self._elsewhere.items() if caller.may(permission(name))}
        known = others | own
        aliases = {
            name: translate_models.alias(name, [known[model] for model in models])
            for name, models in self.aliases(caller)
            if models <= known.keys()
        }
        return [model for _, model in sorted((aliases | known).items())]

    def find(self, name: str, caller: Principal) -> model_pb2.Model:
        """A model or an alias, for a caller.

        Raises:
            ModelNotFound: There is no such model.
            PermissionMissing: The caller may not use it.
        """
        if not self.knows(name):
            for model in self.permitted(caller):
                if model.name == name:
                    return model
        if name not in self._elsewhere or self._models.has(name):
            return translate_models.model(self._models.find(name, caller))
        caller.require(permission(name))
        return self._elsewhere[name]

    def replicas(self, name: str) -> list[model_pb2.ReplicaStatus]:
        """How the replicas of a model are doing, by id: this one now, others as they told last."""
        own = (status for status_of, status in self._replicas() if status_of == name)
        others = (status for status in self._others.get(name, ()) if status.replica_id != self._replica)
        return sorted([*own, *others], key=lambda status: status.replica_id)

    def knows(self, name: str) -> bool:
        """Whether some pool serves a model of this name, whatever its state."""
        return self._models.has(name) or name in self._elsewhere

    def can_chat(self, name: str) -> bool:
        """Whether some pool has a model ready that chats."""
        if self._models.has(name):
            return self._models.running(name) is not None and self._models.is_ready(name)
        model = self._elsewhere.get(name)
        return (
            model is not None and model.state == model_pb2.MODEL_STATE_READY and not model.supports_embeddings
        )

    @asynccontextmanager
    async def keeping(self, store: Redis) -> AsyncIterator[ModelDirectory]:
        """Tell and learn by this store until the block's end, through any trouble of it."""
        task = asyncio.create_task(self._keep(store), name="model-directory")
        try:
            yield self
        finally:
            await end_task(task)
            with suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(STORE_SECONDS):
                    await self._told_models.withdraw(store)
                    await self._told_replicas.withdraw(store)

    async def _keep(self, store: Redis) -> None:
        heard = _now()
        while True:
            try:
                async with asyncio.timeout(STORE_SECONDS):
                    await self.exchange(store)
                heard = _now()
            except (RedisError, OSError, TimeoutError) as error:
                if self._elsewhere and _now() - heard > LIFE_SECONDS:
                    self._log.warning("models of other pools are unknown", error=type(error).__name__)
                    self._know({})
                    self._others = {}
            await asyncio.sleep(BEAT_SECONDS)

    async def exchange(self, store: Redis) -> None:
        """Tell once, and learn once.

        Raises:
            RedisError: The store does not answer.
        """
        found = await self._told_models.exchange(store, self._told())
        self._know({model.name: model for model in _worst_first(_read(found.values()))})
        mine = {f"{self._replica}/{model}": status for model, status in self._replicas()}
        self._others = _by_model(await self._told_replicas.exchange(store, mine))

    def _replicas(self) -> Iterator[tuple[str, model_pb2.ReplicaStatus]]:
        """How this replica is doing, by its models."""
        for served in self._models.all():
            yield served.name, translate_models.replica_status(self._replica, served)

    def _told(self) -> dict[str, model_pb2.Model]:
        """What this replica tells: only its own pool's default is one, and that nobody else shows."""
        told = {}
        for served in self._models.all():
            model = translate_models.model(served)
            model.is_default = False
            told[f"{self._replica}/{served.name}"] = model
        return told

    def _know(self, others: Mapping[str, model_pb2.Model]) -> None:
        self._elsewhere = {name: model for name, model in others.items() if not self._models.has(name)}
        self._models.elsewhere = frozenset(self._elsewhere)


def _read(entries: Iterable[bytes]) -> Iterator[model_pb2.Model]:
    """The models in entries; another release may write what this one cannot read."""
    for entry in entries:
        with suppress(DecodeError):
            model = model_pb2.Model.FromString(entry)
            if model.name:
                yield model


def _by_model(entries: Mapping[str, bytes]) -> dict[str, list[model_pb2.ReplicaStatus]]:
    """How replicas are doing, by model; what cannot be read is left out."""
    found: dict[str, list[model_pb2.ReplicaStatus]] = {}
    for field, entry in entries.items():
        replica_id, _, model = field.partition("/")
        with suppress(DecodeError):
            status = model_pb2.ReplicaStatus.FromString(entry)
            if status.replica_id == replica_id:
                found.setdefault(model, []).append(status)
    return found


def _worst_first(models: Iterable[model_pb2.Model]) -> list[model_pb2.Model]:
    """So that of two of the same name the better one is kept."""
    known = [model for model in models if model.state in _BEST]
    return sorted(known, key=lambda model: _BEST.index(model.state), reverse=True)


def _now() -> float:
    return asyncio.get_running_loop().time()
