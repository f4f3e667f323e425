"""A conversation: what was asked and answered, and how it is told to the model again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from google.protobuf import duration_pb2

from parley.inference.v1 import chat_pb2, message_pb2
from parley_client.client import user_message
from web.answer import Answer, Call, Part, Saying
from web.pictures.picture import Picture

MAX_TURNS = 200
"""Questions that a conversation may hold which the platform does not store, and that the page shows of
one which it does. The contract takes 4,096 messages, and one answer with tools is a handful of them."""

MAX_QUESTION_CHARACTERS = 32_768
TITLE_CHARACTERS = 48
RESUME_SECONDS = 30
"""How long an answer that was cut between page and edge may be read on. Closing the page cancels it."""
UNTITLED = "New conversation"


@dataclass
class Turn:
    """A question and its answer.

    Attributes:
        question: What was asked; empty for what was said before anything was.
        message_id: The last message of it that the platform stores; empty where the page does not know.
        pictures: Images that the question is about.
    """

    question: str
    answer: Answer
    message_id: str = ""
    pictures: tuple[Picture, ...] = ()


@dataclass
class Conversation:
    """Turns under one title, which the first question gives unless somebody did.

    Attributes:
        id: A ULID, which is also its name at the platform.
        stored: Whether the platform keeps it; else it lives as long as its login.
        at_platform: Whether the platform has it already.
        name: The title that it was given; empty where nobody did.
        earlier: How many turns it has before those that the page shows.
    """

    id: str
    turns: list[Turn] = field(default_factory=list)
    stored: bool = False
    at_platform: bool = False
    name: str = ""
    earlier: int = 0

    @property
    def title(self) -> str:
        """What people call it; else the first question, shortened."""
        if self.name or not self.turns:
            return self.name or UNTITLED
        line = " ".join(self.turns[0].question.split())
        return line if len(line) <= TITLE_CHARACTERS else line[: TITLE_CHARACTERS - 1].rstrip() + "…"

    @property
    def is_new(self) -> bool:
        """Whether nothing was asked in it, here or elsewhere."""
        return not self.turns and not self.at_platform

    @property
    def newest(self) -> Answer | None:
        """The answer that was given, or is being given, last."""
        return self.turns[-1].answer if self.turns else None

    @property
    def full(self) -> bool:
        """Whether it takes no more questions. Of one that it stores the platform says so itself."""
        return not self.stored and len(self.turns) >= MAX_TURNS

    @property
    def pictures(self) -> list[Picture]:
        """The images of all questions that the page knows."""
        return [picture for turn in self.turns for picture in turn.pictures]

    def ask(self, question: str, answer: Answer, pictures: Sequence[Picture] = ()) -> None:
        """Add a question that is about to be answered."""
        self.turns.append(Turn(question, answer, pictures=tuple(pictures)))
        if self.stored:
            self.earlier += len(self.turns[:-MAX_TURNS])
            del self.turns[:-MAX_TURNS]

    def request(self, model: str) -> chat_pb2.ChatRequest:
        """What asks the last question, with all of the person's tools.

        The person is asked about calls of dangerous ones. What was said before
        goes along, unless the platform stores it.
        """
        told = self.turns[-1:] if self.stored else self.turns
        return chat_pb2.ChatRequest(
            model=model,
            messages=[message for turn in told for message in _told(turn)],
            server_tools=chat_pb2.ServerTools(all=True),
            approvals=chat_pb2.ApprovalOptions(policy=chat_pb2.APPROVAL_POLICY_ASK),
            resume_window=duration_pb2.Duration(seconds=RESUME_SECONDS),
            conversation_id=self.id if self.stored else "",
            continue_conversation=self.stored,
        )


def _told(turn: Turn) -> Iterator[message_pb2.Message]:
    """A turn as messages. A past turn without an answer is left out: templates want one after a question."""
    replies = list(_replies(turn.answer))
    if replies or turn.answer.running:
        yield user_message(turn.question, *(picture.part for picture in turn.pictures))
        yield from replies


def _replies(answer: Answer) -> Iterator[message_pb2.Message]:
    """What the model said and was told, round by round, without its reasoning.

    Reasoning stays out because model families ask for it to be dropped from past turns.
    """
    said = ""
    for in_round, parts in groupby(answer.parts, key=_round_of):
        if in_round:
            calls = [part for part in parts if isinstance(part, Call) and part.result is not None]
            yield from _round(said if calls else "", calls)
            said = "" if calls else said
        else:
            said += "".join(part.text for part in parts if isinstance(part, Saying))
    if said.strip():
        yield _message(message_pb2.ROLE_ASSISTANT, said)


def _round_of(part: Part) -> int:
    """The tool round that a part belongs to, counted from 1; 0 for what is no call."""
    return part.round if isinstance(part, Call) else 0


def _round(said: str, calls: list[Call]) -> Iterator[message_pb2.Message]:
    """A model turn that called tools, and their results."""
    if not calls:
        return
    yield message_pb2.Message(
        role=message_pb2.ROLE_ASSISTANT,
        content=[message_pb2.ContentPart(text=said)] if said.strip() else [],
        tool_calls=[
            message_pb2.ToolCall(id=call.id, name=call.name, arguments=call.arguments) for call in calls
        ],
    )
    for call in calls:
        result = _message(message_pb2.ROLE_TOOL, call.result or "")
        result.tool_call_id = call.id
        yield result


def _message(role: message_pb2.Role.ValueType, text: str) -> message_pb2.Message:
    return message_pb2.Message(role=role, content=[message_pb2.ContentPart(text=text)])
