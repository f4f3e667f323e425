"""Shows an answer while it streams."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.markup import escape

from cli.console import answers, print_json_line
from parley.inference.v1 import chat_pb2
from parley_client.errors import from_status

REASONING_CHARACTERS = 400
"""Reasoning beyond this is folded away behind an ellipsis."""

RESULT_CHARACTERS = 500


class AnswerPrinter:
    """Writes the events of one answer for a person.

    Args:
        console: Where to.
        show_reasoning: Whether to show the reasoning, dim and folded.
        show_usage: Whether to tell the tokens that were used.
    """

    def __init__(
        self, console: Console | None = None, *, show_reasoning: bool = True, show_usage: bool = False
    ) -> None:
        self._console = console or answers()
        self._show_reasoning = show_reasoning
        self._show_usage = show_usage
        self._usage = chat_pb2.Usage()
        self._reasoned = 0
        self._in_line = False

    def question(self, text: str) -> None:
        """Writes the question that the next events answer."""
        self._line(f"[bold]? {escape(text)}[/bold]")

    def show(self, event: chat_pb2.ChatEvent) -> None:
        """Writes what an event brings.

        Raises:
            ParleyError: The run failed.
        """
        kind = event.WhichOneof("event")
        if kind == "reasoning_delta" and self._show_reasoning:
            self._reasoning(event.reasoning_delta.text)
        elif kind == "content_delta":
            self._content(event.content_delta.text)
        elif kind == "tool_call":
            call = event.tool_call.call
            self._line(f"[cyan]→ {escape(call.name)}[/cyan] {escape(call.arguments)}")
        elif kind == "approval_needed":
            call = event.approval_needed.call
            self._line(f"[yellow]? {escape(call.name)} needs approval[/yellow]")
        elif kind == "approval_decided":
            self._decided(event.approval_decided)
        elif kind == "tool_progress":
            self._line(f"[dim]  {escape(_progress(event.tool_progress))}[/dim]")
        elif kind == "tool_result":
            self._result(event.tool_result)
        elif kind == "usage":
            self._usage = event.usage
        elif kind == "finished":
            self._finished(event.finished)

    def end_line(self) -> None:
        """Makes what comes next begin on a line of its own."""
        if self._in_line:
            self._console.print()
            self._in_line = False
        self._reasoned = 0

    def _reasoning(self, text: str) -> None:
        if self._reasoned > REASONING_CHARACTERS:
            return
        folded = text.replace("\n", " ") if self._reasoned else text.lstrip().replace("\n", " ")
        self._reasoned += len(folded)
        if self._reasoned > REASONING_CHARACTERS:
            folded = f"{folded} …"
        self._write(f"[dim italic]{escape(folded)}[/dim italic]")

    def _content(self, text: str) -> None:
        if self._reasoned:
            self.end_line()
        if not self._in_line:
            text = text.lstrip("\n")
        self._write(escape(text))

    def _write(self, markup: str) -> None:
        if markup:
            self._console.print(markup, end="")
            self._in_line = True

    def _line(self, markup: str) -> None:
        self.end_line()
        self._console.print(markup)

    def _decided(self, decided: chat_pb2.ApprovalDecided) -> None:
        outcome = chat_pb2.ApprovalOutcome.Name(decided.outcome).removeprefix("APPROVAL_OUTCOME_").lower()
        note = f": {decided.note}" if decided.note else ""
        self._line(f"[yellow]  {escape(outcome + note)}[/yellow]")

    def _result(self, result: chat_pb2.ToolCallResult) -> None:
        milliseconds = result.duration.ToTimedelta().total_seconds() * 1000
        took = f"[dim]({milliseconds:.0f} ms)[/dim]"
        if result.HasField("error"):
            self._line(f"[red]✗ {escape(str(from_status(result.error)))}[/red] {took}")
            return
        text = result.content
        shown = text if len(text) <= RESULT_CHARACTERS else f"{text[:RESULT_CHARACTERS]} …"
        cut = f" [dim]({result.omitted_bytes} bytes left out)[/dim]" if result.omitted_bytes else ""
        self._line(f"[green]←[/green] {escape(shown)}{cut} {took}")

    def _finished(self, finished: chat_pb2.ChatFinished) -> None:
        self.end_line()
        if self._show_usage:
            self._line(f"[dim]{usage_text(self._usage)}[/dim]")
        if finished.reason == chat_pb2.FINISH_REASON_ERROR:
            raise from_status(finished.error)
        if finished.reason != chat_pb2.FINISH_REASON_STOP:
            self._line(f"[yellow]Ended early: {finish_name(finished.reason)}.[/yellow]")


class AnswerLines:
    """Writes the events of one answer for a program: one line of JSON each."""

    def show(self, event: chat_pb2.ChatEvent) -> None:
        """Writes an event.

        Raises:
            ParleyError: The run failed; its event is written first.
        """
        print_json_line(event_fields(event))
        if event.finished.reason == chat_pb2.FINISH_REASON_ERROR:
            raise from_status(event.finished.error)

    def end_line(self) -> None:
        """Nothing: every event has a line of its own."""


def event_fields(event: chat_pb2.ChatEvent) -> dict[str, Any]:
    """An event as the JSON surface writes it (ProtoJSON with the contract's field names)."""
    return MessageToDict(event, preserving_proto_field_name=True)


def usage_text(usage: chat_pb2.Usage) -> str:
    """Tokens used, in words."""
    cached = f" ({usage.cached_prompt_tokens} from the prefix cache)" if usage.cached_prompt_tokens else ""
    turns = "turn" if usage.turns == 1 else "turns"
    prompt = f"{usage.prompt_tokens} prompt tokens{cached}"
    return f"{prompt}, {usage.completion_tokens} generated, {usage.turns} {turns}"


def finish_name(reason: chat_pb2.FinishReason.ValueType) -> str:
    """A finish reason without its prefix."""
    return chat_pb2.FinishReason.Name(reason).removeprefix("FINISH_REASON_")


def _progress(progress: chat_pb2.ToolCallProgress) -> str:
    share = f"{progress.fraction:.0%} " if progress.HasField("fraction") else ""
    return f"{share}{progress.message}".strip()
