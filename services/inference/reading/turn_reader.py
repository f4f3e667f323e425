"""Turns an engine's raw deltas into steps: what was said, what it cost, how it ended.

Speaks to the parser through the few names it needs, so that tests can cut a
turn at every boundary without an engine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import structlog
from ulid import ULID

from services.inference.engine.turn import ToolCall
from services.inference.errors import EngineFailed, OutputUnparseable
from services.inference.reading.deltas import joined
from services.inference.reading.logprobs import TokenLogprob
from services.inference.reading.portions import Decode, RawOutput, TokenByToken
from services.inference.reading.step import (
    ContentDelta,
    Delta,
    ReasoningDelta,
    Step,
    StopReason,
    ToolCallDelta,
    TurnEnd,
    TurnUsage,
)

STOP_REASONS = {"stop": StopReason.STOP, "length": StopReason.LENGTH, "repetition": StopReason.STOP}


class DeltaParser(Protocol):
    """What is used of `vllm.parser.Parser`."""

    def parse_delta(
        self,
        delta_text: str,
        delta_token_ids: list[int],
        request: Any,
        prompt_token_ids: list[int] | None = None,
        *,
        finished: bool,
    ) -> Any:
        """Split new text; None where it is held back."""
        ...

    def parse(
        self, model_output: str, request: Any, enable_auto_tools: bool, model_output_token_ids: Sequence[int]
    ) -> tuple[str | None, str | None, Any]:
        """Split a whole turn into reasoning, content and calls."""
        ...

    def count_reasoning_tokens(self, token_ids: Sequence[int]) -> int:
        """How many of these tokens are reasoning."""
        ...


ReadLogprobs = Callable[[RawOutput], Sequence[TokenLogprob]]


def no_logprobs(output: RawOutput) -> Sequence[TokenLogprob]:
    """The log-probabilities of an output that were not asked for."""
    del output
    return ()


class TurnReader:
    """Reads one choice of a turn. It keeps what was said, to check the end against it."""

    def __init__(
        self,
        model: str,
        make_parser: Callable[[], DeltaParser | None],
        request: Any,
        prompt_tokens: int,
        decode: Decode,
        *,
        choice: int = 0,
        logprobs: ReadLogprobs = no_logprobs,
    ) -> None:
        """Read a turn.

        Args:
            model: The model's name, for errors.
            make_parser: Makes a fresh parser; None where output is plain text.
            request: What the parser wants to know of the request.
            prompt_tokens: Tokens of the prompt.
            decode: Gives the text of tokens, as the engine does.
            choice: The choice, counted from 0.
            logprobs: Reads the log-probabilities of an output.
        """
        self._model = model
        self._make_parser = make_parser
        self._parser = make_parser()
        self._request = request
        self._prompt_tokens = prompt_tokens
        self._tokens_apart = TokenByToken(decode)
        self._text: list[str] = []
        self._content: list[str] = []
        self._tokens: list[int] = []
        self._calls: dict[int, ToolCall] = {}
        self._choice = choice
        self._read_logprobs = logprobs
        self._untold: list[TokenLogprob] = []
        self._log = structlog.get_logger("parley.inference")

    @property
    def tokens(self) -> int:
        """Tokens read so far."""
        return len(self._tokens)

    def read(
        self, output: RawOutput, cached_tokens: int, prompt_token_ids: list[int] | None
    ) -> Iterator[Step]:
        """What the engine's next output means; where it breaks off, what it said before comes first.

        Raises:
            EngineFailed: The engine gave the request up.
            OutputUnparseable: The text breaks the model's own format.
        """
        finish = output.finish_reason
        if finish is not None and finish not in STOP_REASONS:
            raise EngineFailed(self._model)
        deltas: list[Delta] = []
        self._untold.extend(self._read_logprobs(output))
        try:
            self._hear(output, prompt_token_ids, deltas)
        except OutputUnparseable:
            yield self._step(output, deltas, self._usage(cached_tokens))
            raise
        if finish is None:
            yield self._step(output, deltas, self._usage(cached_tokens))
            return
        reason = STOP_REASONS[finish]
        if reason is StopReason.STOP:
            deltas.extend(self._recover())
        calls = tuple(self._calls.values()) if reason is StopReason.STOP else ()
        reasoning = self._parser.count_reasoning_tokens(tuple(self._tokens)) if self._parser else 0
        stopped = output.stop_reason
        end = TurnEnd(reason, calls, stopped if isinstance(stopped, str) else "")
        yield self._step(output, deltas, self._usage(cached_tokens, reasoning), end)

    def _hear(self, output: RawOutput, prompt_token_ids: list[int] | None, deltas: list[Delta]) -> None:
        """Add what is said to the deltas.

        Several of upstream's parsers read a turn differently when tokens come
        together, so each is given alone, however they came.
        """
        begun = bool(self._tokens)
        self._text.append(output.text)
        self._tokens.extend(output.token_ids)
        if self._parser is None:
            deltas.extend(self._say(output.text))
        elif output.text or output.token_ids or begun or output.finish_reason:
            for portion in self._tokens_apart.split(output):
                deltas.extend(self._split(self._parser, portion, prompt_token_ids))

    def _step(
        self, output: RawOutput, deltas: list[Delta], usage: TurnUsage, end: TurnEnd | None = None
    ) -> Step:
        told = self._tell_logprobs(joined(deltas), last=end is not None)
        return Step(tuple(told), usage, end, self._choice, len(self._tokens), tuple(output.token_ids))

    def _tell_logprobs(self, deltas: list[Delta], *, last: bool) -> list[Delta]:
        """The deltas, with the log-probabilities of the tokens since those before; calls have none."""
        if not self._untold:
            return deltas
        told = tuple(self._untold)
        for at, delta in enumerate(deltas):
            if isinstance(delta, ContentDelta | ReasoningDelta):
                self._untold.clear()
                return [*deltas[:at], replace(delta, logprobs=told), *deltas[at + 1 :]]
        if last and not self._calls:
            return [*deltas, ContentDelta("", self._choice, told)]
        if deltas:
            self._untold.clear()
        return deltas

    def _usage(self, cached_tokens: int, reasoning_tokens: int = 0) -> TurnUsage:
        return TurnUsage(self._prompt_tokens, len(self._tokens), cached_tokens, reasoning_tokens)

    def _split(
        self, parser: DeltaParser, portion: RawOutput, prompt_token_ids: list[int] | None
    ) -> list[Delta]:
        """The parts of the new text."""
        try:
            parsed = parser.parse_delta(
                portion.text,
                list(portion.token_ids),
                self._request,
                prompt_token_ids,
                finished=portion.finish_reason is not None,
            )
        except Exception as error:
            # Parsers raise whatever their family's library does, Harmony's among them.
            self._log.warning("output not understood", model=self._model, error=type(error).__name__)
            raise OutputUnparseable(self._model) from error
        return [] if parsed is None else self._deltas(parsed)

    def _deltas(self, parsed: Any) -> list[Delta]:
        deltas: list[Delta] = [ReasoningDelta(parsed.reasoning, self._choice)] if parsed.reasoning else []
        deltas.extend(self._say(parsed.content or ""))
        deltas.extend(self._hear_calls(parsed.tool_calls or ()))
        return deltas

    def _say(self, text: str) -> list[Delta]:
        if not text:
            return []
        self._content.append(text)
        return [ContentDelta(text, self._choice)]

    def _hear_calls(self, parts: Iterable[Any]) -> list[Delta]:
        """Parts of calls; the first part of each names it."""
        deltas: list[Delta] = []
        for part in parts:
            function = part.function
            arguments = (function.arguments if function else None) or ""
            known = self._calls.get(part.index)
            if known is None:
                name = (function.name if function else None) or ""
                known = ToolCall(part.id or f"call_{ULID()}", name, "")
                deltas.append(ToolCallDelta(part.index, known.id, known.name, arguments))
            elif arguments:
                deltas.append(ToolCallDelta(part.index, "", "", arguments))
            self._calls[part.index] = ToolCall(known.id, known.name, known.arguments + arguments)
        return deltas

    def _recover(self) -> list[Delta]:
        """What the streaming parser lost, found by parsing the whole turn.

        Upstream loses calls that arrive in one piece (vllm issue 47907), and
        the text of a call that it cannot read at all.
        """
        parser = self._make_parser()
        if parser is None or not getattr(self._request, "tools", None):
            return []
        try:
            _, content, calls = parser.parse("".join(self._text), self._request, True, tuple(self._tokens))
        except Exception as error:
            self._log.warning("turn not parsed again", model=self._model, error=type(error).__name__)
            return []
        deltas = self._mend_calls(calls or ())
        return deltas if self._calls else self._mend_content(content or "")

    def _mend_calls(self, whole: Sequence[Any]) -> list[Delta]:
        """Calls that the stream did not have, or had with arguments that are no JSON."""
        deltas: list[Delta] = []
        for index, call in enumerate(whole):
            streamed = self._calls.get(index)
            if streamed is None:
                mended = ToolCall(call.id or f"call_{ULID()}", call.name, call.arguments)
                deltas.append(ToolCallDelta(index, mended.id, mended.name, mended.arguments))
                self._calls[index] = mended
            elif streamed.name == call.name and not _is_json(streamed.arguments) and _is_json(call.arguments):
                self._calls[index] = ToolCall(streamed.id, streamed.name, call.arguments)
                if call.arguments.startswith(streamed.arguments):
                    more = call.arguments[len(streamed.arguments) :]
                    deltas.append(ToolCallDelta(index, "", "", more))
        return deltas

    def _mend_content(self, whole: str) -> list[Delta]:
        """Text that the stream swallowed."""
        said = "".join(self._content)
        if whole.strip() and whole.startswith(said):
            return self._say(whole[len(said) :])
        return []


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
