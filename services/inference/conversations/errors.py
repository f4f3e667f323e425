"""The errors of stored conversations; `error_reason.proto` says what each means."""

from __future__ import annotations

from parley.inference.v1 import error_reason_pb2
from services.inference.errors import InferenceError


class ConversationNotFound(InferenceError):
    """The caller has no conversation of this id."""

    reason = error_reason_pb2.ERROR_REASON_CONVERSATION_NOT_FOUND

    def __init__(self, conversation_id: str) -> None:
        super().__init__(
            f"You have no conversation {conversation_id}.", metadata={"conversation_id": conversation_id}
        )


class ConversationBusy(InferenceError):
    """A run is adding to the conversation."""

    reason = error_reason_pb2.ERROR_REASON_CONVERSATION_BUSY

    def __init__(self, conversation_id: str) -> None:
        super().__init__(
            f"A run is adding to the conversation {conversation_id}; wait for its end, or cancel it.",
            metadata={"conversation_id": conversation_id},
        )


class ConversationChanged(InferenceError):
    """The conversation does not end with the message that the caller knows last."""

    reason = error_reason_pb2.ERROR_REASON_CONVERSATION_CHANGED

    def __init__(self, conversation_id: str, last_message_id: str) -> None:
        super().__init__(
            f"The conversation {conversation_id} has gone on since; read it again.",
            metadata={"conversation_id": conversation_id, "last_message_id": last_message_id},
        )


class MessageNotFound(InferenceError):
    """The conversation has no such message."""

    reason = error_reason_pb2.ERROR_REASON_MESSAGE_NOT_FOUND

    def __init__(self, conversation_id: str, message_id: str) -> None:
        super().__init__(
            f"The conversation {conversation_id} has no message {message_id}.",
            metadata={"conversation_id": conversation_id, "message_id": message_id},
        )


class TooManyConversations(InferenceError):
    """The caller has as many conversations as a user may have."""

    reason = error_reason_pb2.ERROR_REASON_TOO_MANY_CONVERSATIONS

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"You have {limit} conversations, which is all that a user may have; delete some.",
            metadata={"limit": str(limit)},
        )


class ConversationsOff(InferenceError):
    """This deployment stores no conversations."""

    reason = error_reason_pb2.ERROR_REASON_CONVERSATIONS_OFF

    def __init__(self) -> None:
        super().__init__(
            "This deployment stores no conversations; its operator can name a database "
            "by PARLEY_INFERENCE_DATABASE_URL."
        )
