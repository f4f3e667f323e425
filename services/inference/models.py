"""The models of this process and whether they can be asked."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from services.inference.engine import Engine, ModelCard
from services.inference.errors import ModelNotFound, ModelNotReady
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
        engine: Its engine, once it runs.
        state: Whether it can be asked.
    """

    name: str
    is_default: bool
    engine: Engine | None = None
    state: ModelState = ModelState.LOADING

    @property
    def permission(self) -> str:
        """What a caller needs to use it, beside the method's own permission."""
        return f"models.{self.name}"

    @property
    def card(self) -> ModelCard | None:
        """What it can do; unknown until it is loaded."""
        return self.engine.card if self.engine is not None else None


class Models:
    """The models of this process, by name. The first is the default."""

    def __init__(self, *names: str) -> None:
        """Announce models that are being loaded."""
        self._models = {name: ServedModel(name, name == names[0]) for name in sorted(names)}
        self._default = names[0]

    @property
    def default(self) -> str:
        """The model that answers requests that name none."""
        return self._default

    def permitted(self, caller: Principal) -> list[ServedModel]:
        """The models that a caller may use, by name."""
        return [served for served in self._models.values() if caller.may(served.permission)]

    def ready(self, name: str, engine: Engine) -> None:
        """The model answers, with this engine."""
        served = self._models[name]
        served.engine, served.state = engine, ModelState.READY

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
            raise ModelNotFound(name, (permitted.name for permitted in self.permitted(caller)))
        caller.require(served.permission)
        return served

    def engine(self, name: str, caller: Principal) -> Engine:
        """The engine of a model, for a caller; an empty name means the default.

        Raises:
            ModelNotFound: There is no such model.
            PermissionMissing: The caller may not use it.
            ModelNotReady: It is loading, or its engine stopped.
        """
        served = self.find(name or self._default, caller)
        if served.engine is None or served.state is not ModelState.READY:
            raise ModelNotReady(served.name)
        return served.engine
