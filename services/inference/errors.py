"""The errors of the inference service; `error_reason.proto` says what each means."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from parley.inference.v1 import error_reason_pb2
from services.rpc.errors import ServiceError

RESTART_TIME = timedelta(seconds=5)
# What callers wrote comes back in trailers, whose size is bounded.
MAX_PARAMETER_CHARACTERS = 128
MAX_FAULT_CHARACTERS = 512


class InferenceError(ServiceError):
    """An error of the inference service."""

    reasons = error_reason_pb2.ErrorReason


class ModelNotFound(InferenceError):
    """No model has this name."""

    reason = error_reason_pb2.ERROR_REASON_MODEL_NOT_FOUND

    def __init__(self, model: str, available: Iterable[str]) -> None:
        names = sorted(available)
        what = f"There is no model {model!r}; there is {', '.join(names) or 'none'}."
        if model in names:
            what = f"The model {model!r} is served by another pool: name it in the metadata parley-model too."
        super().__init__(
            what,
            metadata={"model": model, "available": ",".join(names)},
        )


class ModelNotReady(InferenceError):
    """The model is loading, or its engine is coming back."""

    reason = error_reason_pb2.ERROR_REASON_MODEL_NOT_READY

    def __init__(self, model: str) -> None:
        super().__init__(
            f"The model {model!r} is not ready yet; try again in a moment.",
            metadata={"model": model},
            retry_after=RESTART_TIME,
        )


class ReaderTooSlow(InferenceError):
    """A client took nothing that it was told for too long."""

    reason = error_reason_pb2.ERROR_REASON_READER_TOO_SLOW

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"Nothing was read for {seconds:g} s. Read on by Resume where the run has a resume_window.",
            metadata={"limit_seconds": f"{seconds:g}"},
        )


class ModelOfOtherKind(InferenceError):
    """A model that embeds was asked to chat, or the other way round."""

    reason = error_reason_pb2.ERROR_REASON_MODEL_OF_OTHER_KIND

    def __init__(self, model: str, *, embeds: bool) -> None:
        does, not_this = ("embeddings", "chat") if embeds else ("chat", "embeddings")
        super().__init__(
            f"The model {model!r} is for {does}; ask another for {not_this}.",
            metadata={"model": model, "kind": does},
        )


class DimensionsNotOffered(InferenceError):
    """A model has no embeddings of the size that was asked for."""

    reason = error_reason_pb2.ERROR_REASON_DIMENSIONS_NOT_OFFERED

    def __init__(self, model: str, dimensions: int) -> None:
        super().__init__(
            f"The model {model!r} has no embeddings of {dimensions} dimensions; leave the number out.",
            metadata={"model": model, "dimensions": str(dimensions)},
        )


class ContextOverflow(InferenceError):
    """The prompt and the answer asked for do not fit the context."""

    reason = error_reason_pb2.ERROR_REASON_CONTEXT_OVERFLOW

    def __init__(self, prompt_tokens: int, max_output_tokens: int, context_length: int) -> None:
        super().__init__(
            f"The prompt has {prompt_tokens} tokens and the answer may have {max_output_tokens}; "
            f"the model's context holds {context_length}. Shorten the messages or ask for less.",
            metadata={
                "prompt_tokens": str(prompt_tokens),
                "max_output_tokens": str(max_output_tokens),
                "context_length": str(context_length),
            },
        )


class MessagesInvalid(InferenceError):
    """The messages cannot be rendered."""

    reason = error_reason_pb2.ERROR_REASON_MESSAGES_INVALID


class RunNotFound(InferenceError):
    """No run of this caller has the id."""

    reason = error_reason_pb2.ERROR_REASON_RUN_NOT_FOUND

    def __init__(self, run_id: str) -> None:
        super().__init__(f"You have no run {run_id}, or it is over.", metadata={"run_id": run_id})


class EngineFailed(InferenceError):
    """The engine failed while it generated."""

    reason = error_reason_pb2.ERROR_REASON_ENGINE_FAILED

    def __init__(self, model: str) -> None:
        super().__init__(
            f"The engine of {model!r} failed. What was said stands; ask again.",
            metadata={"model": model},
            retry_after=RESTART_TIME,
        )


class OutputUnparseable(InferenceError):
    """What the model said breaks its own format."""

    reason = error_reason_pb2.ERROR_REASON_OUTPUT_UNPARSEABLE

    def __init__(self, model: str) -> None:
        super().__init__(
            f"What {model!r} said breaks its own format. What was said before stands; ask again.",
            metadata={"model": model},
        )


class TurnQueueFull(InferenceError):
    """Too many turns of a conversation wait."""

    reason = error_reason_pb2.ERROR_REASON_TURN_QUEUE_FULL

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} turns wait already; say it again when one is answered.", metadata={"limit": str(limit)}
        )


class ConversationFull(InferenceError):
    """A conversation is as long as its stream may keep it."""

    reason = error_reason_pb2.ERROR_REASON_CONVERSATION_FULL

    def __init__(self, limit_messages: int, limit_bytes: int) -> None:
        super().__init__(
            f"The conversation would have more than {limit_messages} messages or {limit_bytes} bytes; "
            "begin another stream with what still matters.",
            metadata={"limit_messages": str(limit_messages), "limit_bytes": str(limit_bytes)},
        )


class BodyInvalid(InferenceError):
    """A body that should be JSON is none."""

    reason = error_reason_pb2.ERROR_REASON_BODY_INVALID

    def __init__(self, fault: str) -> None:
        super().__init__(f"The body cannot be read: {fault}.")


class ParameterInvalid(InferenceError):
    """A field of an OpenAI request has a value that it does not take."""

    reason = error_reason_pb2.ERROR_REASON_PARAMETER_INVALID

    def __init__(self, parameter: str, fault: str) -> None:
        shown = parameter[:MAX_PARAMETER_CHARACTERS]
        super().__init__(f"{shown}: {fault[:MAX_FAULT_CHARACTERS]}", metadata={"parameter": shown})


class ParameterUnsupported(InferenceError):
    """A field of an OpenAI request that would change the answer is not served."""

    reason = error_reason_pb2.ERROR_REASON_PARAMETER_UNSUPPORTED

    def __init__(self, parameter: str) -> None:
        shown = parameter[:MAX_PARAMETER_CHARACTERS]
        super().__init__(
            f"{shown} is not served here, or not with this value: leave it out.",
            metadata={"parameter": shown},
        )


class TokenUnknown(InferenceError):
    """A token id is beyond the model's vocabulary."""

    reason = error_reason_pb2.ERROR_REASON_TOKEN_UNKNOWN

    def __init__(self, field: str, token_id: int, vocabulary_size: int) -> None:
        super().__init__(
            f"{field} has the token {token_id}; the model's tokens are 0 to {vocabulary_size - 1}.",
            metadata={"field": field, "token_id": str(token_id), "vocabulary_size": str(vocabulary_size)},
        )


class StructuredOutputInvalid(InferenceError):
    """A form for the answer does not compile."""

    reason = error_reason_pb2.ERROR_REASON_STRUCTURED_OUTPUT_INVALID

    def __init__(self, field: str, fault: str) -> None:
        super().__init__(f"{field} cannot be used: {fault}", metadata={"field": field})


class StructuredOutputTooComplex(InferenceError):
    """A form for the answer takes too much to compile, or to hold an answer to."""

    reason = error_reason_pb2.ERROR_REASON_STRUCTURED_OUTPUT_TOO_COMPLEX

    def __init__(self, field: str, seconds: float) -> None:
        super().__init__(
            f"{field} takes more than the {seconds:g} s, or the memory, that there is to compile it, "
            "or too long for each token. Ask for less, or for fewer repetitions and alternatives.",
            metadata={"field": field, "limit_seconds": f"{seconds:g}"},
        )


class ModelLacks(InferenceError):
    """The model cannot do what a field asks for."""

    reason = error_reason_pb2.ERROR_REASON_MODEL_LACKS

    def __init__(self, model: str, field: str) -> None:
        super().__init__(
            f"The model {model!r} cannot do what {field} asks for.", metadata={"model": model, "field": field}
        )
