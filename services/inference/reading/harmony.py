"""gpt-oss speaks Harmony: messages with a header each. Whatever breaks it is an error, not silence.

vLLM 0.32 skips tokens that its Harmony parser does not take, and messages of
channels that it does not know: the rest of an answer is lost, and the turn
still ends well. Here a second parser of the same library reads along and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from openai_harmony import (
    HarmonyEncoding,
    HarmonyEncodingName,
    Role,
    StreamableParser,
    StreamState,
    load_harmony_encoding,
)

from services.inference.reading.turn_reader import DeltaParser

CHANNELS = frozenset({"analysis", "commentary", "final"})


class HarmonyBrokenError(Exception):
    """What the model said is no Harmony."""


class StrictHarmony:
    """vLLM's Harmony parser, which raises where it would lose text. It implements `DeltaParser`."""

    def __init__(self, parser: DeltaParser) -> None:
        """Read along with this parser."""
        self._parser = parser
        self._check = StreamableParser(encoding(), Role.ASSISTANT)

    def parse_delta(
        self,
        delta_text: str,
        delta_token_ids: list[int],
        request: Any,
        prompt_token_ids: list[int] | None = None,
        *,
        finished: bool,
    ) -> Any:
        """See `DeltaParser.parse_delta`.

        Raises:
            HarmonyError: A token stands where it must not.
            HarmonyBrokenError: A message is of no known channel.
        """
        for token in delta_token_ids:
            self._take(token)
        # Finishing within a header would make vLLM show the header as an answer.
        finished = finished and self._check.state is not StreamState.HEADER
        return self._parser.parse_delta(
            delta_text, delta_token_ids, request, prompt_token_ids, finished=finished
        )

    def _take(self, token: int) -> None:
        expecting = self._check.state is StreamState.EXPECT_START
        if expecting and token in stop_tokens():
            return  # Models end a turn with it though the message has ended.
        self._check.process(token)
        begun = self._check.state is StreamState.CONTENT
        if begun and self._check.current_channel not in CHANNELS:
            raise HarmonyBrokenError
        if token in stop_tokens() and self._check.state is StreamState.HEADER:
            raise HarmonyBrokenError

    def parse(
        self, model_output: str, request: Any, enable_auto_tools: bool, model_output_token_ids: Sequence[int]
    ) -> tuple[str | None, str | None, Any]:
        """See `DeltaParser.parse`."""
        return self._parser.parse(model_output, request, enable_auto_tools, model_output_token_ids)

    def count_reasoning_tokens(self, token_ids: Sequence[int]) -> int:
        """See `DeltaParser.count_reasoning_tokens`."""
        return self._parser.count_reasoning_tokens(token_ids)


@cache
def encoding() -> HarmonyEncoding:
    """The encoding of gpt-oss; its vocabulary comes with the library."""
    return load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)


@cache
def stop_tokens() -> frozenset[int]:
    """Tokens that end a turn."""
    return frozenset(encoding().stop_tokens_for_assistant_actions())
