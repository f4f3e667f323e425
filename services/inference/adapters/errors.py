"""The errors of adapters; `error_reason.proto` says what each means."""

from __future__ import annotations

from parley.inference.v1 import error_reason_pb2
from services.inference.errors import MAX_FAULT_CHARACTERS, InferenceError


class AdaptersOff(InferenceError):
    """A model takes no adapters."""

    reason = error_reason_pb2.ERROR_REASON_ADAPTERS_OFF

    def __init__(self, model: str) -> None:
        super().__init__(
            f"The model {model!r} takes no LoRA adapters; for one that chats the operator can name a folder "
            "of them by PARLEY_INFERENCE_ADAPTERS_PATH.",
            metadata={"model": model},
        )


class AdapterNotFound(InferenceError):
    """The folder of adapters has none of this name."""

    reason = error_reason_pb2.ERROR_REASON_ADAPTER_NOT_FOUND

    def __init__(self, adapter: str) -> None:
        super().__init__(f"The folder of adapters has no {adapter!r}.", metadata={"adapter": adapter})


class AdapterInvalid(InferenceError):
    """An adapter's files cannot be loaded."""

    reason = error_reason_pb2.ERROR_REASON_ADAPTER_INVALID

    def __init__(self, adapter: str, fault: str) -> None:
        super().__init__(
            f"The adapter {adapter!r} cannot be loaded: {fault[:MAX_FAULT_CHARACTERS]}.",
            metadata={"adapter": adapter},
        )


class TooManyAdapters(InferenceError):
    """The model has as many adapters as it can."""

    reason = error_reason_pb2.ERROR_REASON_TOO_MANY_ADAPTERS

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The model holds {limit} adapters, which is all that it can; unload one.",
            metadata={"limit": str(limit)},
        )
