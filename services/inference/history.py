"""What was said in a conversation, as long as its stream may keep it."""

from __future__ import annotations

from services.inference.engine.turn import Message
from services.inference.errors import ConversationFull

MAX_MESSAGES = 4096
MAX_BYTES = 8 * 2**20


class History:
    """The messages of a conversation, oldest first."""

    def __init__(
        self, messages: tuple[Message, ...], *, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES
    ) -> None:
        """Begin with these, and keep no more than the limits allow."""
        self.messages = messages
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._bytes = sum(map(_size, messages))

    def asked(self, message: Message) -> tuple[Message, ...]:
        """All of it, and what is said now.

        Raises:
            ConversationFull: That is more than may be kept.
        """
        if len(self.messages) >= self._max_messages or self._bytes + _size(message) > self._max_bytes:
            raise ConversationFull(self._max_messages, self._max_bytes)
        return (*self.messages, message)

    def add(self, message: Message, said: tuple[Message, ...]) -> None:
        """Keep a turn and what was said to it.

        One that nothing was said to is left out: chat templates want an answer
        between two questions.
        """
        if said:
            self.messages = (*self.messages, message, *said)
            self._bytes += sum(map(_size, (message, *said)))


class StoredHistory(History):
    """The messages of a conversation that is stored: each turn finds them there, and leaves its own."""

    def __init__(self) -> None:
        """Keep nothing here."""
        super().__init__(())

    def add(self, message: Message, said: tuple[Message, ...]) -> None:
        """The turn's run has stored them."""


def _size(message: Message) -> int:
    """Bytes of a message's texts, in UTF-8, and of its images."""
    texts = [message.content, message.reasoning, *(call.arguments for call in message.tool_calls)]
    return sum(len(text.encode()) for text in texts) + sum(len(image.data) for image in message.images)
