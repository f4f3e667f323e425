"""The models of this process and whether they can be asked."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from services.inference.engine.embedder import Embedder
from services.inference.engine.model_card import ModelCard
from services.inference.engine.port import Engine
from services.inference.errors import ModelNotFound, ModelNotReady, ModelOfOtherKind
from services.rpc.principal import Principal


class ModelState(Enum):
    """Whether a model can be asked."""

    LOADING = auto()
    READY = auto()
    FAILED = auto()


@dataclass(slots=True)
class ServedModel:
    """A model that this process serves.

    Attributes:
        name: The name by which requests ask for it.
        is_default: Whether it answers requests that name none.
        engine: Its engine, once it runs; None for one that embeds.
        embedder: The same for one that embeds.
        state: Whether it can be asked.
        base_model: The model that it is an adapter of; empty for one of its own.
    """

    name: str
    is_default: bool
    engine: Engine | None = None
    embedder: Embedder | None = None
    state: ModelState = ModelState.LOADING
    base_model: str = ""

    @property
    def permission(self) -> str:
        """What a caller needs to use it, beside the method's own permission."""
        return permission(self.name)

    @property
    def card(self) -> ModelCard | None:
        """What it can do; unknown until it is loaded."""
        runs = self.engine or self.embedder
        return runs.card if runs is not None else None


def permission(name: str) -> str:
    """What a caller needs to use a model, beside the method's own permission."""
    return f"models.{name}"


class Models:
    """The models of this process, by name. The first is the default.

    Attributes:
        elsewhere: Names of models that other pools serve.
    """

    def __init__(self, *names: str) -> None:
        """Announce models that are being loaded."""
        self._models = {name: ServedModel(name, name == names[0]) for name in sorted(names)}
        self._default = names[0]
        self.elsewhere: frozenset[str] = frozenset()

    @property
    def default(self) -> str:
        """The model that answers requests that name none."""
        return self._default

    def all(self) -> list[ServedModel]:
        """Every model of this process, by name."""
        return list(self._models.values())

    def has(self, name: str) -> bool:
        """Whether this process serves a model of this name."""
        return name in self._models

    def is_ready(self, name: str) -> bool:
        """Whether a model of this process answers."""
        return self._models[name].state is ModelState.READY

    def running(self, name: str) -> Engine | None:
        """The engine of a model of this process, if it has one and it runs."""
        return served.engine if (served := self._models.get(name)) else None

    def permitted(self, caller: Principal) -> list[ServedModel]:
        """The models that a caller may use, by name."""
        return [served for served in self._models.values() if caller.may(served.permission)]

    def put(self, served: ServedModel) -> None:
        """Serve one more, or another of the same name: calls that begin afterwards are answered by it."""
        self._models = dict(sorted({**self._models, served.name: served}.items()))

    def remove(self, name: str) -> None:
        """Serve a model no longer, if it is served."""
        self._models.pop(name, None)

    def ready(self, name: str, engine: Engine | Embedder) -> None:
        """The model answers, with this engine or embedder."""
        served = self._models[name]
        if isinstance(engine, Embedder):
            served.embedder = engine
        else:
            served.engine = engine
        served.state = ModelState.READY

    def failed(self, name: str) -> None:
        """The model's engine stopped."""
        self._models[name].state = ModelState.FAILED

    def find(self, name: str, caller: Principal) -> ServedModel:
        """A model, for a caller.

        Raises:
            ModelNotFound: There is no such model.
            PermissionMissing: The caller may not use it.
        """
        served = self._models.get(name)
        if served is None:
            raise self._not_found(name, caller)
        caller.require(served.permission)
        return served

    def engine(self, name: str, caller: Principal) -> Engine:
        """The engine of a model, for a caller; an empty name means the default.

        Raises:
            ModelNotFound: There is no such model.
            PermissionMissing: The caller may not use it.
            ModelNotReady: It is loading, or its engine stopped.
            ModelOfOtherKind: It embeds.
        """
        served = self._asked(name, caller)
        if served.engine is None:
            raise ModelOfOtherKind(served.name, embeds=True)
        return served.engine

    def embedder(self, name: str, caller: Principal) -> Embedder:
        """The embedder of a model; as `engine`, but it must embed."""
        served = self._asked(name, caller)
        if served.embedder is None:
            raise ModelOfOtherKind(served.name, embeds=False)
        return served.embedder

    def _asked(self, name: str, caller: Principal) -> ServedModel:
        """The model that a caller asks for, which can answer."""
        served = self._models.get(name or self._default)
        if served is None:
            if name in self.elsewhere and name.rpartition(":")[0] in self._models:
                # An adapter that another replica of the pool has loaded, and this one is about to.
                caller.require(permission(name))
                raise ModelNotReady(name)
            raise self._not_found(name, caller)
        caller.require(served.permission)
        if served.card is None or served.state is not ModelState.READY:
            raise ModelNotReady(served.name)
        return served

    def _not_found(self, name: str, caller: Principal) -> ModelNotFound:
        """Says what there is, as far as the caller may know."""
        names = {name for name in (*self._models, *self.elsewhere) if caller.may(permission(name))}
        return ModelNotFound(name, names)
