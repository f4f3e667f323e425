"""`parley chat`: a question, or a conversation."""

from __future__ import annotations

import asyncio
import readline  # noqa: F401 - gives input() editing and history
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cli.answer import AnswerLines, AnswerPrinter
from cli.approval import Approve, ask
from cli.connection import Deployment
from cli.console import errors
from cli.failures import CommandError, tell, told
from parley.inference.v1 import chat_pb2, message_pb2
from parley_client.channel import MAX_MESSAGE_BYTES
from parley_client.client import Client, user_message
from parley_client.errors import ParleyError
from parley_client.images import image
from parley_client.transcript import Transcript

QUESTION_CHARACTERS = 1 << 20
RESUME_SECONDS = 30
"""How long an answer that was cut, for example by an edge that is restarted, may be read on."""

WELCOME = "Ask away. /new forgets the conversation, Ctrl-C stops an answer, Ctrl-D ends."


@dataclass(frozen=True)
class AnswerOptions:
    """What every question of a conversation asks for."""

    model: str = ""
    tools: bool = True
    reasoning: bool = True
    max_tool_rounds: int | None = None
    approve: Approve = Approve.DENY

    def request(self, transcript: Transcript) -> chat_pb2.ChatRequest:
        """The request for what comes after the transcript."""
        request = chat_pb2.ChatRequest(model=self.model, messages=transcript.messages)
        request.server_tools.all = self.tools
        request.approvals.policy = self.approve.policy
        if not self.reasoning:
            request.reasoning.enabled = False
        request.resume_window.FromSeconds(RESUME_SECONDS)
        if self.max_tool_rounds is not None:
            request.limits.max_tool_rounds = self.max_tool_rounds
        return request


@told
def chat(
    question: Annotated[
        str | None, typer.Argument(help="The question; - reads it from standard input. Without it: a prompt.")
    ] = None,
    model: Annotated[str, typer.Option(help="The model to ask.")] = "",
    tools: Annotated[bool, typer.Option("--tools/--no-tools", help="Whether it may use tools.")] = True,
    reasoning: Annotated[
        bool, typer.Option("--reasoning/--no-reasoning", help="Whether it reasons first, where it can.")
    ] = True,
    max_tool_rounds: Annotated[
        int | None, typer.Option(help="Turns in which it may call tools.", min=0, max=32)
    ] = None,
    approve: Annotated[
        Approve | None,
        typer.Option(help="Dangerous tools: ask before each call, or deny. Default: ask at a terminal."),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option("--image", help="A picture that the first question is about; may be given again."),
    ] = None,
    usage: Annotated[bool, typer.Option("--usage", help="Tell the tokens used.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write each event as a line of JSON.")] = False,
) -> None:
    """Ask a model and stream its answer."""
    options = AnswerOptions(model, tools, reasoning, max_tool_rounds, approve or Approve.by_default())
    printer = AnswerLines() if as_json else AnswerPrinter(show_reasoning=reasoning, show_usage=usage)
    pictures = [_picture(path) for path in images or ()]
    if question == "-":
        question = sys.stdin.read(QUESTION_CHARACTERS)
    with asyncio.Runner() as runner:
        connection = Deployment.find().client()
        client = runner.run(connection.__aenter__())
        conversation = Conversation(client, options, printer, pictures)
        try:
            if question is None:
                _prompt(runner, conversation)
            else:
                runner.run(conversation.ask(question))
        finally:
            runner.run(connection.__aexit__(None, None, None))


class Conversation:
    """Questions and answers that build on each other."""

    def __init__(
        self,
        client: Client,
        options: AnswerOptions,
        printer: AnswerPrinter | AnswerLines,
        pictures: Sequence[message_pb2.ContentPart] = (),
    ) -> None:
        self._client = client
        self._pictures = pictures
        self._options = options
        self._printer = printer
        self._transcript = Transcript()

    def forget(self) -> None:
        """Begins anew."""
        self._transcript = Transcript()

    async def ask(self, question: str) -> None:
        """Asks, and shows the answer as it streams. Cancelling this cancels the run.

        Raises:
            ParleyError: The answer failed.
        """
        pictures, self._pictures = self._pictures, ()
        self._transcript.messages.append(user_message(question, *pictures))
        request = self._options.request(self._transcript)
        run_id = ""
        try:
            async with self._client.chat(request) as events:
                async for event in events:
                    run_id = event.started.run_id or run_id
                    self._transcript.add(event)
                    self._printer.show(event)
                    if event.HasField("approval_needed"):
                        await self._decide(run_id, event.approval_needed)
        finally:
            self._transcript.end()
            self._printer.end_line()

    async def _decide(self, run_id: str, needed: chat_pb2.ApprovalNeeded) -> None:
        """Asks about a call and passes the answer on; the run may have ended meanwhile."""
        self._printer.end_line()
        approved = await ask(needed)
        if approved is None:
            return
        try:
            await self._client.decide_approval(run_id, needed.call.id, approve=approved)
        except ParleyError as error:
            tell(str(error), error.hint)


def _picture(path: Path) -> message_pb2.ContentPart:
    """The picture in a file.

    Raises:
        CommandError: There is none.
    """
    try:
        with path.open("rb") as file:
            return image(file.read(MAX_MESSAGE_BYTES))
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.", "Name another file.") from error
    except ValueError as error:
        raise CommandError(f"{path}: the file is no GIF, JPEG, PNG or WebP.", "Convert it first.") from error


def _prompt(runner: asyncio.Runner, conversation: Conversation) -> None:
    """Asks question after question until the input ends."""
    errors().print(WELCOME, style="dim")
    while (question := _read_question()) is not None:
        if question == "/new":
            conversation.forget()
        elif question:
            _answer(runner, conversation, question)


def _read_question() -> str | None:
    """What was typed; empty after Ctrl-C, None at the end of the input."""
    try:
        return input("> ").strip()
    except KeyboardInterrupt:
        errors().print()
        return ""
    except EOFError:
        return None


def _answer(runner: asyncio.Runner, conversation: Conversation, question: str) -> None:
    """Shows one answer; neither its failure nor Ctrl-C ends the conversation."""
    try:
        runner.run(conversation.ask(question))
    except KeyboardInterrupt:
        errors().print("Cancelled.", style="yellow")
    except ParleyError as error:
        tell(str(error), error.hint)
