"""The engine port on vLLM's `AsyncLLM`; it and its `vllm_` modules are all that imports vLLM.

Written for vLLM 0.32. The flow is that of its own chat endpoint
(`vllm.entrypoints.openai.chat_completion.serving`): its online renderer makes
token ids, `AsyncLLM.generate` gives deltas, its parser splits them into
reasoning, content and tool calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from services.inference import vllm_environment  # noqa: F401 - it stands before vLLM's own imports
from services.inference.adapters.port import AdapterHost
from services.inference.choices import Choices
from services.inference.engine import (
    Capability,
    ContentDelta,
    ModelCard,
    Prompt,
    Step,
    StopReason,
    Turn,
    TurnEnd,
    TurnUsage,
    no_ceiling,
)
from services.inference.engine_status import EngineReadings, EngineStatus
from services.inference.errors import ContextOverflow, EngineFailed, MessagesInvalid, ModelLacks
from services.inference.fingerprint import fingerprint, prompt_identity
from services.inference.forms import Forms
from services.inference.harmony import StrictHarmony
from services.inference.image_marks import unmarked
from services.inference.image_reader import ImageReader, Pixels
from services.inference.logprobs import TokenLogprob
from services.inference.options import Effort, RawPrompt
from services.inference.parsers import Parsers
from services.inference.portions import Decode, Portion, RawOutput, cut, whole_characters
from services.inference.preflight import StartError
from services.inference.settings import EngineSettings
from services.inference.token_texts import TokenTexts
from services.inference.turn_reader import DeltaParser, TurnReader
from services.inference.vllm_adapters import VllmAdapters, lora_request
from services.inference.vllm_forms import (
    constraints,
    proof,
    refuse_beyond_engine,
    refuse_spoken_stops,
    tokens_for_forms,
)
from services.inference.vllm_images import image_marks, takes_images
from services.inference.vllm_parsers import model_parsers, online_renderer
from services.inference.vllm_start import build_llm
from services.inference.vllm_turns import RenderRequest, characters, chat_request, sampling_params
from services.rpc.errors import InvalidRequest, Overloaded

# isort: split
from vllm import __version__ as vllm_version
from vllm.config import ModelConfig
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.exceptions import GracefulHTTPError, VLLMClientError
from vllm.inputs import tokens_input
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

# The engine's process has nothing to save; what it holds, the kernel and the driver take back.
CLOSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Rendered:
    """What `VllmEngine.render` leaves for `generate`."""

    request: RenderRequest
    inputs: Any
    turn: Turn


class VllmEngine:
    """A model that runs in vLLM. `start` one; it implements `Engine`."""

    def __init__(
        self, llm: AsyncLLM, settings: EngineSettings, readings: EngineReadings | None = None
    ) -> None:
        """Wrap a running `AsyncLLM` that was built with these readings."""
        self._llm = llm
        self._readings = readings or EngineReadings(settings.name)
        self._config: ModelConfig = llm.model_config
        self._defaults: dict[str, Any] = self._config.get_diff_sampling_param()
        parsers = model_parsers(self._config, settings)
        try:
            self._renderer = online_renderer(llm, parsers)
        except (TypeError, ValueError, KeyError) as error:
            raise StartError(f"The parsers {parsers} do not fit {settings.model}: {error}") from error
        self._card = ModelCard(
            name=settings.name,
            context_length=self._config.max_model_len,
            max_output_tokens=self._defaults.get("max_tokens"),
            supports_reasoning=bool(parsers.reasoning),
            supports_tools=bool(parsers.tools),
            fingerprint=(known := self._fingerprint(settings, parsers)),
            revision=getattr(self._config.hf_config, "_commit_hash", None) or known[:16],
            vocabulary_size=self._config.get_vocab_size(),
            capabilities=frozenset(Capability) - (set() if takes_images(llm) else {Capability.IMAGES}),
            image_limits=settings.images if takes_images(llm) else None,
        )
        self._adapters = VllmAdapters(llm, settings) if settings.max_adapters else None
        self._images = ImageReader(settings.images)
        self._write = unmarked(image_marks(llm))
        self._texts = TokenTexts(llm.get_tokenizer())
        self._forms = Forms(partial(tokens_for_forms, llm.get_tokenizer(), self._config.get_vocab_size()))

    @classmethod
    def load(cls, settings: EngineSettings) -> VllmEngine:
        """Load the model; blocks for as long as that takes.

        Raises:
            StartError: The model is missing or does not fit this machine.
        """
        readings = EngineReadings(settings.name)
        llm = build_llm(settings, readings)
        try:
            return cls(llm, settings, readings)
        except BaseException:
            llm.shutdown()
            raise

    def _fingerprint(self, settings: EngineSettings, parsers: Parsers) -> str:
        """Digest of all that decides how the model answers, this release of vLLM included."""
        config = self._config
        commit = getattr(config.hf_config, "_commit_hash", None)
        more = (
            vllm_version,
            str(config.dtype),
            str(config.quantization),
            repr(parsers),
            repr(self._defaults),
        )
        return fingerprint(settings.model, commit, *more)

    @property
    def card(self) -> ModelCard:
        """See `Engine.card`."""
        return self._card

    @property
    def running(self) -> int:
        """See `Engine.running`."""
        return int(self._llm.get_num_unfinished_requests())

    @property
    def slots(self) -> int:
        """See `Engine.slots`."""
        return int(self._llm.vllm_config.scheduler_config.max_num_seqs)

    @property
    def status(self) -> EngineStatus:
        """See `Engine.status`."""
        return self._readings.status

    @property
    def adapter_host(self) -> AdapterHost | None:
        """See `Engine.adapter_host`."""
        return self._adapters

    async def render(self, turn: Turn) -> Prompt:
        """See `Engine.render`."""
        self._refuse_impossible(turn)
        self._refuse_endless(characters(turn), turn.sampling.max_output_tokens or 1)
        refuse_spoken_stops(turn, self._llm.get_tokenizer())
        if turn.form is not None:
            refuse_beyond_engine(turn.form)
            await self._forms.check(*proof(turn.form))
        async with self._images.pixels(turn.messages) as pixels:
            request = self._request(turn, pixels)
            try:
                inputs = await (self._tokens_of(turn.raw) if turn.raw else self._render_chat(request))
            except (VLLMClientError, ValueError, TypeError) as error:
                raise MessagesInvalid(f"The model's chat template refuses the messages: {error}") from error
        token_ids: list[int] = inputs["prompt_token_ids"]
        return Prompt(len(token_ids), Rendered(request, inputs, turn), prompt_identity(inputs), token_ids)

    def _request(self, turn: Turn, pixels: Pixels) -> RenderRequest:
        """The turn as vLLM reads it, when vLLM would take it.

        Raises:
            InvalidRequest: It would not.
        """
        try:
            request = chat_request(turn, pixels, self._write)
            request.to_sampling_params(max(1, request.min_tokens), self._defaults)
        except (VLLMClientError, ValueError, TypeError) as error:
            raise InvalidRequest(str(error)) from error
        return request

    async def _render_chat(self, request: RenderRequest) -> Any:
        rendered = await self._renderer.render_chat(request)
        if isinstance(rendered, ErrorResponse):
            raise MessagesInvalid(rendered.error.message)
        if request.tools and request.structured_outputs is not None:
            # The parser's own, which holds the model to calls; tools are described by strangers.
            for kind, text in constraints(request.structured_outputs):
                await self._forms.check(kind, text, "tool_choice")
        return rendered[1][0]

    async def _tokens_of(self, raw: RawPrompt) -> Any:
        return tokens_input(list(raw.tokens or await self.tokenize(raw.text, special=True)))

    def _refuse_impossible(self, turn: Turn) -> None:
        """Refuse what the model's family has no way of doing.

        Raises:
            ModelLacks: Harmony has no answer without reasoning; with places for adapters, vLLM
                0.32 dies of log-probabilities of a prompt.
        """
        if self._renderer.use_harmony and turn.effort is Effort.NONE:
            raise ModelLacks(self._card.name, "reasoning.effort")
        echoes = turn.raw is not None and turn.raw.echo and turn.sampling.top_logprobs is not None
        if echoes and self._adapters is not None:
            raise ModelLacks(self._card.name, "echo")

    def _refuse_endless(self, characters: int, asked: int) -> None:
        """Refuse text that cannot fit before time is spent on its tokens.

        Raises:
            ContextOverflow: With the fewest tokens that the text could have.
        """
        fewest = -(-characters // self._llm.get_tokenizer().max_chars_per_token)
        if fewest > self._card.context_length:
            raise ContextOverflow(fewest, asked, self._card.context_length)

    async def tokenize(self, text: str, *, special: bool) -> tuple[int, ...]:
        """See `Engine.tokenize`."""
        self._refuse_endless(len(text), 1)
        tokenizer = self._llm.get_tokenizer()
        return tuple(await asyncio.to_thread(tokenizer.encode, text, add_special_tokens=special))

    async def detokenize(self, token_ids: Sequence[int], *, skip_special: bool) -> str:
        """See `Engine.detokenize`."""
        tokenizer = self._llm.get_tokenizer()
        return str(
            await asyncio.to_thread(tokenizer.decode, list(token_ids), skip_special_tokens=skip_special)
        )

    async def token_texts(self, token_ids: Sequence[int]) -> tuple[bytes, ...]:
        """See `Engine.token_texts`."""
        return await asyncio.to_thread(lambda: tuple(map(self._texts.of, token_ids)))

    async def generate(
        self,
        prompt: Prompt,
        *,
        max_output_tokens: int,
        request_id: str,
        ceiling: Callable[[], int | None] = no_ceiling,
        said: Sequence[int] = (),
    ) -> AsyncGenerator[Step, None]:
        """See `Engine.generate`."""
        rendered = cast("Rendered", prompt.native)
        raw = rendered.turn.raw
        if raw is not None and raw.echo_only and rendered.turn.sampling.top_logprobs is None:
            for step in await self._echo(rendered, None):
                yield step
            return
        decode = partial(self._decode, skip_special=rendered.request.skip_special_tokens)
        choices = Choices(self._readers(rendered, prompt.tokens, decode))
        said = whole_characters(said, decode)
        outputs = self._outputs(prompt, max_output_tokens, request_id, said)
        prompt_ids: list[int] = rendered.inputs["prompt_token_ids"]
        echoed = raw is None or not raw.echo
        try:
            if said:
                for step in choices.read(0, Portion(decode(said), said, None), 0, prompt_ids):
                    yield step
            async for output in outputs:
                if not echoed:
                    echoed = True
                    for step in await self._echo(rendered, output.prompt_logprobs):
                        yield step
                    if raw is not None and raw.echo_only:
                        return
                for completion in output.outputs:
                    left: RawOutput | None = completion
                    while left is not None:
                        room = choices.room(ceiling(), one=left.logprobs is not None)
                        now, left = cut(left, room, decode)
                        cached = min(output.num_cached_tokens or 0, prompt.tokens)
                        for step in choices.read(completion.index, now, cached, prompt_ids):
                            yield step
        except (EngineDeadError, EngineGenerateError) as error:
            raise EngineFailed(self._card.name) from error
        except GracefulHTTPError as error:
            raise Overloaded(str(error)) from error
        except VLLMClientError as error:
            raise InvalidRequest(str(error)) from error
        finally:
            await outputs.aclose()

    async def _echo(self, rendered: Rendered, logprobs: Any) -> list[Step]:
        """The prompt, as each choice begins with it, and ends where that is all."""
        token_ids: list[int] = rendered.inputs["prompt_token_ids"]
        raw = rendered.turn.raw
        text = raw.text if raw and raw.text else await self.detokenize(token_ids, skip_special=False)
        told = await asyncio.to_thread(self._logprobs, rendered.turn, token_ids, logprobs)
        usage = TurnUsage(len(token_ids))
        end = TurnEnd(StopReason.LENGTH) if raw and raw.echo_only else None
        return [
            Step((ContentDelta(text, choice, told),), usage, end, choice)
            for choice in range(rendered.turn.sampling.choice_count)
        ]

    def _logprobs(self, turn: Turn, token_ids: Sequence[int], given: Any) -> tuple[TokenLogprob, ...]:
        return self._texts.logprobs(token_ids, given, turn.sampling.top_logprobs or 0)

    def _decode(self, token_ids: Sequence[int], *, skip_special: bool) -> str:
        return str(self._llm.get_tokenizer().decode(list(token_ids), skip_special_tokens=skip_special))

    def _outputs(
        self, prompt: Prompt, max_output_tokens: int, request_id: str, said: Sequence[int]
    ) -> AsyncGenerator[Any, None]:
        rendered = cast("Rendered", prompt.native)
        request, inputs = rendered.request, rendered.inputs
        if said:
            # To the engine, what was said belongs to the prompt.
            inputs = {**inputs, "prompt_token_ids": [*inputs["prompt_token_ids"], *said]}
        sampling = sampling_params(request, max_output_tokens - len(said), self._defaults)
        more: dict[str, Any] = {}
        if prompt.adapter is not None:
            more["lora_request"] = lora_request(prompt.adapter)
        if sampling.structured_outputs is not None and rendered.turn.raw is None:
            more |= self._reasoning_of(request, inputs["prompt_token_ids"])
        outputs: AsyncGenerator[Any, None] = self._llm.generate(inputs, sampling, request_id, **more)
        return outputs

    def _reasoning_of(self, request: RenderRequest, token_ids: list[int]) -> dict[str, Any]:
        """What the engine must know to hold the answer to a form, and not the reasoning before it."""
        parser: Any = self._parser(request)
        if parser is None or parser.reasoning_parser is None:
            return {"reasoning_ended": True}
        kwargs = self._renderer.effective_chat_template_kwargs(request)
        return {
            "reasoning_ended": request.resolve_reasoning_ended(parser, token_ids),
            "reasoning_parser_kwargs": {"chat_template_kwargs": kwargs},
        }

    def _readers(self, rendered: Rendered, prompt_tokens: int, decode: Decode) -> list[TurnReader]:
        turn, request = rendered.turn, rendered.request
        return [
            TurnReader(
                self._card.name,
                lambda: None if turn.raw else self._parser(request),
                request,
                prompt_tokens,
                decode,
                choice=choice,
                logprobs=lambda output: self._logprobs(turn, output.token_ids, output.logprobs),
            )
            for choice in range(turn.sampling.choice_count)
        ]

    def _parser(self, request: RenderRequest) -> DeltaParser | None:
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

    async def failed(self) -> None:
        """See `Engine.failed`."""
        handler = self._llm.output_handler
        if handler is not None:
            # It ends when the engine process has, after it told all requests.
            await asyncio.wait({handler})

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._forms.close()
        if self._adapters is not None:
            self._adapters.close()
        self._images.close()
        await asyncio.to_thread(self._llm.shutdown, CLOSE_SECONDS)
        # Its `__del__` must not run when the interpreter is already half gone.
        del self._llm
