"""Turns as a model that runs in vLLM is given them, and what reads what it says."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from services.inference.engine.fingerprint import prompt_identity
from services.inference.engine.model_card import ModelCard
from services.inference.engine.options import CallMode, Effort, RawPrompt
from services.inference.engine.port import Prompt
from services.inference.engine.tokens import EngineTokens
from services.inference.engine.turn import Turn
from services.inference.errors import MessagesInvalid, ModelLacks
from services.inference.forms.forms import Forms
from services.inference.images.marks import unmarked
from services.inference.images.reader import ImageReader, Pixels
from services.inference.preflight import StartError
from services.inference.reading.harmony import StrictHarmony
from services.inference.reading.parsers import Parsers
from services.inference.reading.turn_reader import DeltaParser
from services.inference.settings import EngineSettings
from services.inference.vllm import environment  # noqa: F401 - it stands before vLLM's own imports
from services.inference.vllm.forms import (
    constraints,
    proof,
    refuse_beyond_engine,
    refuse_spoken_stops,
    tokens_for_forms,
)
from services.inference.vllm.images import image_marks
from services.inference.vllm.parsers import online_renderer
from services.inference.vllm.turns import RenderRequest, characters, chat_request, refuse_same_choices
from services.rpc.errors import InvalidRequest

# isort: split
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.exceptions import VLLMClientError
from vllm.inputs import tokens_input
from vllm.v1.engine.async_llm import AsyncLLM


@dataclass(frozen=True, slots=True)
class Rendered:
    """What rendering leaves for generating."""

    request: RenderRequest
    inputs: Any
    turn: Turn

    @property
    def token_ids(self) -> list[int]:
        """The prompt's tokens."""
        token_ids: list[int] = self.inputs["prompt_token_ids"]
        return token_ids


class VllmRendering:
    """Renders the turns of one model with vLLM's online renderer, and makes its parsers."""

    def __init__(
        self,
        llm: AsyncLLM,
        settings: EngineSettings,
        parsers: Parsers,
        defaults: dict[str, Any],
        card: ModelCard,
        tokens: EngineTokens,
    ) -> None:
        """Render for a running `AsyncLLM`, whose model has these generation defaults.

        Raises:
            StartError: The parsers do not fit the model.
        """
        self._llm = llm
        self._config = llm.model_config
        self._defaults = defaults
        self._card = card
        self._tokens = tokens
        self._has_adapters = bool(settings.max_adapters)
        try:
            self._renderer = online_renderer(llm, parsers)
        except (TypeError, ValueError, KeyError) as error:
            raise StartError(f"The parsers {parsers} do not fit {settings.model}: {error}") from error
        self._images = ImageReader(settings.images)
        self._write = unmarked(image_marks(llm))
        self._forms = Forms(partial(tokens_for_forms, llm.get_tokenizer(), self._config.get_vocab_size()))

    async def render(self, turn: Turn) -> Prompt:
        """See `Engine.render`."""
        self._refuse_impossible(turn)
        self._tokens.refuse_endless(characters(turn), turn.sampling.max_output_tokens or 1)
        refuse_spoken_stops(turn, self._llm.get_tokenizer())
        if turn.form is not None:
            refuse_beyond_engine(turn.form)
            await self._forms.check(*proof(turn.form))
        async with self._images.pixels(turn.messages) as pixels:
            request = self._request(turn, pixels)
            try:
                inputs = await (self._tokens_of(turn.raw) if turn.raw else self._render_chat(turn, request))
            except (VLLMClientError, ValueError, TypeError) as error:
                raise MessagesInvalid(f"The model's chat template refuses the messages: {error}") from error
        rendered = Rendered(request, inputs, turn)
        return Prompt(len(rendered.token_ids), rendered, prompt_identity(inputs), rendered.token_ids)

    def _request(self, turn: Turn, pixels: Pixels) -> RenderRequest:
        """The turn as vLLM reads it, when vLLM would take it.

        Raises:
            InvalidRequest: It would not.
        """
        try:
            request = chat_request(turn, pixels, self._write)
            refuse_same_choices(request, self._defaults)
            request.to_sampling_params(max(1, request.min_tokens), self._defaults)
        except (VLLMClientError, ValueError, TypeError) as error:
            raise InvalidRequest(str(error)) from error
        return request

    async def _render_chat(self, turn: Turn, request: RenderRequest) -> Any:
        asked = request.structured_outputs
        rendered = await self._renderer.render_chat(request)
        if isinstance(rendered, ErrorResponse):
            raise MessagesInvalid(rendered.error.message)
        made = request.structured_outputs
        if made is not None and made is not asked and made.grammar:
            self._refuse_forced(turn)
            request.structured_outputs = asked
        elif request.tools and made is not None:
            # The parser's own, which holds the model to calls; tools are described by strangers.
            for kind, text in constraints(made):
                await self._forms.check(kind, text, "tool_choice")
        return rendered[1][0]

    def _refuse_forced(self, turn: Turn) -> None:
        """Refuse to hold a model to calls by a grammar in Lark, as Mistral's parser writes it.

        The engine's compiler reads no Lark, and takes no other beside itself. What the model writes
        of its own accord is read without it.

        Raises:
            ModelLacks: It must make a call.
        """
        if turn.tool_choice.mode is CallMode.REQUIRED:
            raise ModelLacks(self._card.name, "tool_choice")

    async def _tokens_of(self, raw: RawPrompt) -> Any:
        return tokens_input(list(raw.tokens or await self._tokens.of(raw.text, special=True)))

    def _refuse_impossible(self, turn: Turn) -> None:
        """Refuse what the model's family has no way of doing.

        Raises:
            ModelLacks: Harmony has no answer without reasoning; with places for adapters, vLLM
                0.32 dies of log-probabilities of a prompt.
        """
        if self._renderer.use_harmony and turn.effort is Effort.NONE:
            raise ModelLacks(self._card.name, "reasoning.effort")
        echoes = turn.raw is not None and turn.raw.echo and turn.sampling.top_logprobs is not None
        if echoes and self._has_adapters:
            raise ModelLacks(self._card.name, "echo")

    def parser(self, request: RenderRequest) -> DeltaParser | None:
        """A parser for one turn; None where the model's output is plain text."""
        parser: Any = self._renderer.parser
        if parser is None:
            return None
        made: DeltaParser = parser(
            self._llm.tokenizer,
            request.tools,
            chat_template_kwargs=self._renderer.effective_chat_template_kwargs(request),
            model_config=self._config,
        )
        return StrictHarmony(made) if self._renderer.use_harmony else made

    def reasoning(self, rendered: Rendered) -> dict[str, Any]:
        """What the engine must know to hold the answer to a form, and not the reasoning before it."""
        request = rendered.request
        parser: Any = self.parser(request)
        if parser is None or parser.reasoning_parser is None:
            return {"reasoning_ended": True}
        kwargs = self._renderer.effective_chat_template_kwargs(request)
        return {
            "reasoning_ended": request.resolve_reasoning_ended(parser, rendered.token_ids),
            "reasoning_parser_kwargs": {"chat_template_kwargs": kwargs},
        }

    async def close(self) -> None:
        """End the processes and threads that it has."""
        await self._forms.close()
        self._images.close()
