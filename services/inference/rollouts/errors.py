"""The errors of rollouts; `error_reason.proto` says what each means."""

from __future__ import annotations

from parley.inference.v1 import error_reason_pb2
from services.inference.errors import InferenceError


class RolloutNotFound(InferenceError):
    """The tenant has no alias of this name."""

    reason = error_reason_pb2.ERROR_REASON_ROLLOUT_NOT_FOUND

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no rollout {name!r}.", metadata={"name": name})


class RolloutRunning(InferenceError):
    """Callers of the alias are shared out already."""

    reason = error_reason_pb2.ERROR_REASON_ROLLOUT_RUNNING

    def __init__(self, name: str) -> None:
        super().__init__(
            f"A rollout of {name!r} is under way; promote a variant or roll back first.",
            metadata={"name": name},
        )


class RolloutInvalid(InferenceError):
    """The parts of a rollout do not fit together."""

    reason = error_reason_pb2.ERROR_REASON_ROLLOUT_INVALID

    def __init__(self, field: str, fault: str) -> None:
        super().__init__(f"{field}: {fault}.", metadata={"field": field})


class VariantModelUnavailable(InferenceError):
    """The model of a variant cannot answer chats now."""

    reason = error_reason_pb2.ERROR_REASON_VARIANT_MODEL_UNAVAILABLE

    def __init__(self, variant: str, model: str) -> None:
        super().__init__(
            f"The variant {variant!r} needs the model {model!r}, which no pool has ready for chats.",
            metadata={"variant": variant, "model": model},
        )


class VariantElsewhere(InferenceError):
    """Another pool than the one that was reached serves the caller's variant."""

    reason = error_reason_pb2.ERROR_REASON_VARIANT_ELSEWHERE

    def __init__(self, name: str, variant: str, model: str) -> None:
        super().__init__(
            f"The variant {variant!r} of {name!r} is served by another pool: "
            f"name {model!r} in the metadata parley-model, and {name!r} in the request.",
            metadata={"name": name, "variant": variant, "model": model},
        )


class RolloutsOff(InferenceError):
    """This deployment has no rollouts."""

    reason = error_reason_pb2.ERROR_REASON_ROLLOUTS_OFF

    def __init__(self) -> None:
        super().__init__(
            "This deployment has no rollouts; its operator can name a database "
            "by PARLEY_INFERENCE_DATABASE_URL."
        )


class TooManyRollouts(InferenceError):
    """The tenant has as many aliases as one may have."""

    reason = error_reason_pb2.ERROR_REASON_TOO_MANY_ROLLOUTS

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The tenant has {limit} aliases, which is all that one may have; delete some.",
            metadata={"limit": str(limit)},
        )
