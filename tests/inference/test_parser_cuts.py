"""vLLM's real parsers behind `TurnReader`: whatever the cuts, the same events come out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pytest

from services.inference.engine.turn import Sampling, ToolCall, Turn
from services.inference.errors import OutputUnparseable
from services.inference.reading.deltas import joined
from services.inference.reading.harmony import StrictHarmony, encoding
from services.inference.reading.parsers import FAMILIES, choose
from services.inference.reading.portions import UNFINISHED
from services.inference.reading.step import ContentDelta, Delta, ReasoningDelta, ToolCallDelta
from services.inference.reading.turn_reader import TurnReader
from tests.inference import families, harmony_turns
from tests.inference.families import CONTENT, MISTRAL, ONE, REASONING, TOOLS, TWO, Call, Family

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # importing vLLM on two busy cores
    pytest.mark.filterwarnings("default"),  # vLLM's and torch's own, which nobody here can mend
]

MALFORMED = "<think>\nHm.\n</think>\n\n<tool_call>\nnot json at all\n</tool_call>"


class GptOss(Family):
    """gpt-oss, whose calls and content are messages of their own."""

    def turn(self, content: str = "", calls: Sequence[Call] = ()) -> str:
        return harmony_turns.turn(content, calls)


GPT_OSS = GptOss("gpt-oss", "gpt_oss", lambda calls: "", lambda text: text)
EVERY_FAMILY = (GPT_OSS, MISTRAL, *families.FAMILIES)


@dataclass
class Output:
    text: str
    token_ids: list[int]
    finish_reason: str | None
    logprobs: None = None
    stop_reason: None = None


@dataclass
class Said:
    """What came of a turn: its deltas with neighbours joined, and its calls."""

    deltas: tuple[Delta, ...]
    calls: tuple[ToolCall, ...]
    error: str = ""

    def text(self, kind: type[ReasoningDelta] | type[ContentDelta]) -> str:
        return "".join(delta.text for delta in self.deltas if isinstance(delta, kind))

    @property
    def streamed(self) -> list[str]:
        """The arguments of each call, as the deltas had them."""
        calls: dict[int, str] = {}
        for delta in self.deltas:
            if isinstance(delta, ToolCallDelta):
                calls[delta.index] = calls.get(delta.index, "") + delta.arguments
        return list(calls.values())


class Voice:
    """A family's tokenizer and parser, as `VllmEngine` would put them together."""

    def __init__(self, family: Family, tokenizer: Any) -> None:
        from vllm.parser import ParserManager

        from services.inference.vllm.turns import chat_request

        chosen = choose(family.model_type, family.chat_template)
        self.family = family
        self.tokenizer = tokenizer
        self.parser_class: Any = ParserManager.get_parser(
            chosen.tools,
            chosen.reasoning or None,
            enable_auto_tools=True,
            is_harmony=family is GPT_OSS,
            tokenizer=tokenizer,
        )
        self.request = chat_request(Turn((), TOOLS, Sampling(), reasoning=family.thinking), {}, str)
        self.parser().adjust_request(self.request)
        self.prompt = tokenizer.encode(family.prompt, add_special_tokens=False) if family.prompt else [1]

    def parser(self) -> Any:
        return self.parser_class(
            self.tokenizer, self.request.tools, chat_template_kwargs=self.request.chat_template_kwargs or {}
        )

    def reading_parser(self) -> Any:
        return self.parser()

    def tokens(self, text: str) -> list[int]:
        if self.family is MISTRAL:
            return self._tekken_tokens(text)
        return list(self.tokenizer.encode(text + self.family.end, add_special_tokens=False))

    def _tekken_tokens(self, text: str) -> list[int]:
        """Mistral's tokenizer never makes control tokens of text."""
        tekken = self.tokenizer.mistral.instruct_tokenizer.tokenizer
        parts = [part for part in re.split(r"(\[/?[A-Z_]{4,}\])", text) if part]
        tokens: list[int] = []
        for part in parts:
            known = part in families.TEKKEN_SPECIAL
            tokens += [tekken.get_special_token(part)] if known else tekken.encode(part, bos=False, eos=False)
        return [*tokens, tekken.eos_id]

    @cached_property
    def _request_of_engine(self) -> Any:
        from vllm.v1.engine import EngineCoreRequest

        return EngineCoreRequest(
            request_id="r",
            prompt_token_ids=[0],
            mm_features=None,
            sampling_params=self.request.to_sampling_params(1000, {}),
            pooling_params=None,
            arrival_time=0,
            lora_request=None,
            cache_salt=None,
            data_parallel_rank=None,
        )

    def texts(self, groups: Sequence[Sequence[int]], finish: str) -> Iterator[str]:
        """The text of each group, by the engine's own detokenizer."""
        from vllm.v1.engine.detokenizer import IncrementalDetokenizer

        detokenizer = IncrementalDetokenizer.from_new_request(self.tokenizer, self._request_of_engine)
        for at, group in enumerate(groups):
            last = at == len(groups) - 1
            detokenizer.update(list(group), last and finish == "stop")
            yield detokenizer.get_next_output_text(last, True)

    def decode(self, tokens: Sequence[int]) -> str:
        skip = self.request.skip_special_tokens
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=skip))

    def read(self, groups: Sequence[Sequence[int]], finish: str = "stop") -> Said:
        """What is heard of a turn whose tokens arrive in these groups."""
        reader = TurnReader("m", self.reading_parser, self.request, 1, self.decode)
        deltas: list[Delta] = []
        calls: tuple[ToolCall, ...] = ()
        ends = [None] * (len(groups) - 1) + [finish]
        for group, text, end in zip(groups, self.texts(groups, finish), ends, strict=True):
            try:
                for step in reader.read(Output(text, list(group), end), 0, self.prompt):
                    deltas.extend(step.deltas)
                    calls = step.end.calls if step.end else ()
            except OutputUnparseable as error:
                return Said(tuple(joined(deltas)), (), error.reason_name())
        return Said(tuple(joined(map(_nameless, deltas))), tuple(replace(call, id="") for call in calls))


class HarmonyVoice(Voice):
    """gpt-oss; its parser reads tokens and asks the tokenizer for nothing, so any does."""

    def reading_parser(self) -> Any:
        return StrictHarmony(self.parser())

    def tokens(self, text: str) -> list[int]:
        return harmony_turns.tokens(text)

    def texts(self, groups: Sequence[Sequence[int]], finish: str) -> Iterator[str]:
        said = ""
        for at in range(len(groups)):
            now = self.decode([token for group in groups[: at + 1] for token in group])
            now = now.removesuffix(UNFINISHED)
            yield now[len(said) :]
            said = now

    def decode(self, tokens: Sequence[int]) -> str:
        return str(encoding().decode(tokens))


def _nameless(delta: Delta) -> Delta:
    """Identifiers of calls are made anew each time."""
    return replace(delta, id="") if isinstance(delta, ToolCallDelta) else delta


def cuts(tokens: Sequence[int]) -> Iterator[list[Sequence[int]]]:
    """All at once, one by one, and in two at every place."""
    yield [tokens]
    yield [[token] for token in tokens]
    for at in range(1, len(tokens)):
        yield [tokens[:at], tokens[at:]]


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Family], Voice]:
    """Makes a family's voice, once."""
    from vllm.tokenizers import get_tokenizer

    made: dict[str, Voice] = {}

    def make(family: Family) -> Voice:
        if family.name not in made:
            folder = tmp_path_factory.mktemp("tokenizer")
            if family is MISTRAL:
                tokenizer = get_tokenizer(str(families.write_tekken(folder)), tokenizer_mode="mistral")
            else:
                tokenizer = get_tokenizer(str(families.write_tokenizer(family, folder)))
            made[family.name] = (HarmonyVoice if family is GPT_OSS else Voice)(family, tokenizer)
        return made[family.name]

    return make


TURNS: dict[str, tuple[str, tuple[Call, ...]]] = {
    "content": (CONTENT, ()),
    "one call": ("", ONE),
    "content and two calls": (CONTENT, TWO),
}


@pytest.mark.parametrize("kind", TURNS)
@pytest.mark.parametrize("family", EVERY_FAMILY, ids=lambda family: family.name)
def test_every_cut_gives_the_same_events(voice: Callable[[Family], Voice], family: Family, kind: str) -> None:
    content, calls = TURNS[kind]
    if calls and family.name == "llama 3":
        content = ""  # It either answers or calls: its parser takes the first brace for a call.
    speaker = voice(family)
    tokens = speaker.tokens(family.turn(content, calls))
    said = [speaker.read(groups) for groups in cuts(tokens)]
    assert len(said) == len(tokens) + 1
    first = said[0]
    assert [each for each in said if each != first] == []
    assert first.text(ReasoningDelta).strip() == (REASONING if family.reason else "")
    assert first.text(ContentDelta).strip() == content
    assert [(call.name, json.loads(call.arguments)) for call in first.calls] == list(calls)
    assert first.streamed == [call.arguments for call in first.calls]


@pytest.mark.parametrize("family", EVERY_FAMILY, ids=lambda family: family.name)
def test_a_turn_that_is_cut_short_anywhere_makes_no_call(
    voice: Callable[[Family], Voice], family: Family
) -> None:
    speaker = voice(family)
    tokens = speaker.tokens(family.turn("", ONE))
    for length in range(1, len(tokens)):
        said = speaker.read([tokens[:length]], "length")
        assert (said.calls, said.error) == ((), "")


def test_a_call_that_cannot_be_read_is_shown_as_it_was_said(voice: Callable[[Family], Voice]) -> None:
    speaker = voice(next(family for family in families.FAMILIES if family.name == "qwen3"))
    for groups in cuts(speaker.tokens(MALFORMED)):
        said = speaker.read(groups)
        assert said.calls == ()
        assert "not json at all" in said.text(ContentDelta)


@pytest.mark.parametrize("fault", harmony_turns.BROKEN)
def test_broken_harmony_ends_typed_and_keeps_what_was_said(
    voice: Callable[[Family], Voice], fault: str
) -> None:
    speaker = voice(GPT_OSS)
    for groups in cuts(speaker.tokens(harmony_turns.BROKEN[fault])):
        said = speaker.read(groups)
        assert said == Said((ReasoningDelta("Hm."),), (), "OUTPUT_UNPARSEABLE")


def test_a_harmony_header_that_is_cut_short_is_not_shown(voice: Callable[[Family], Voice]) -> None:
    speaker = voice(GPT_OSS)
    header = "<|start|>assistant<|channel|>commentary to=functions.time_now"
    tokens = speaker.tokens(harmony_turns.THOUGHT + header)
    for groups in cuts(tokens):
        assert speaker.read(groups, "length") == Said((ReasoningDelta("Hm."),), ())


def test_an_end_after_the_end_breaks_nothing(voice: Callable[[Family], Voice]) -> None:
    speaker = voice(GPT_OSS)
    for groups in cuts(speaker.tokens(harmony_turns.THOUGHT + "<|return|>")):
        assert speaker.read(groups) == Said((ReasoningDelta("Hm."),), ())


def test_every_parser_that_a_family_takes_is_known_to_the_engine() -> None:
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager

    for chosen in FAMILIES.values():
        assert ToolParserManager.get_tool_parser(chosen.tools)
        assert not chosen.reasoning or ReasoningParserManager.get_reasoning_parser(chosen.reasoning)
