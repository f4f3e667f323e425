"""Turns the events of an answer into the messages that a next question builds on."""

from __future__ import annotations

from parley.inference.v1 import chat_pb2, message_pb2


class Transcript:
    """A conversation so far: feed it the events of each answer, send its messages with each question."""

    def __init__(self) -> None:
        self.messages: list[message_pb2.Message] = []
        """Oldest first. Replace the list to start anew."""
        self._turn: message_pb2.Message | None = None

    def add(self, event: chat_pb2.ChatEvent) -> None:
        """Takes over what an event adds to the conversation; most add nothing."""
        match event.WhichOneof("event"):
            case "reasoning_delta":
                self._turn_now().reasoning += event.reasoning_delta.text
            case "content_delta":
                self._append_text(event.content_delta.text)
            case "tool_call":
                self._turn_now().tool_calls.append(event.tool_call.call)
            case "tool_result":
                self.answer(event.tool_result.call_id, event.tool_result.content)
            case "finished" if event.finished.reason == chat_pb2.FINISH_REASON_TOOL_CALLS:
                self._turn = None  # The client's answers are still to come.
            case "finished":
                self.end()

    def answer(self, call_id: str, content: str) -> None:
        """Adds the answer to a call: a tool's of the platform, or the client's to one of its own.

        The next thing that the model says begins another turn.
        """
        self._turn = None
        parts = [message_pb2.ContentPart(text=content)]
        self.messages.append(
            message_pb2.Message(role=message_pb2.ROLE_TOOL, tool_call_id=call_id, content=parts)
        )

    def end(self) -> None:
        """Ends the answer where it is.

        What could not be sent back is left out: a turn without text or calls,
        and calls that were never answered.
        """
        self._turn = None
        while self.messages and self._is_incomplete(len(self.messages) - 1):
            self.messages.pop()

    def _is_incomplete(self, place: int) -> bool:
        """Whether the message at this place, or the turn that it belongs to, cannot be sent back."""
        message = self.messages[place]
        if message.role == message_pb2.ROLE_TOOL:
            return self._has_unanswered_calls(place)
        if message.role != message_pb2.ROLE_ASSISTANT:
            return False
        return self._has_unanswered_calls(place) or not (message.content or message.tool_calls)

    def _has_unanswered_calls(self, place: int) -> bool:
        """Whether the last turn up to this place asked for calls that no message answers."""
        turns = (n for n in range(place, -1, -1) if self.messages[n].role == message_pb2.ROLE_ASSISTANT)
        turn = next(turns, place)
        asked = {call.id for call in self.messages[turn].tool_calls}
        return not asked <= {message.tool_call_id for message in self.messages[turn:]}

    def _turn_now(self) -> message_pb2.Message:
        """The model's turn that is being said."""
        if self._turn is None:
            self._turn = message_pb2.Message(role=message_pb2.ROLE_ASSISTANT)
            self.messages.append(self._turn)
        return self._turn

    def _append_text(self, text: str) -> None:
        turn = self._turn_now()
        if turn.content:
            turn.content[0].text += text
        else:
            turn.content.add(text=text)
