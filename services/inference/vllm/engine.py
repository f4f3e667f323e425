"""The engine port on vLLM's `AsyncLLM`; it and its `vllm_` modules are all that imports vLLM.

Written for vLLM 0.32. The flow is that of its own chat endpoint
(`vllm.entrypoints.openai.chat_completion.serving`): its online renderer makes
token ids (`vllm_rendering`), `AsyncLLM.generate` gives deltas, its parser splits
them into reasoning, content and tool calls (`turn_reader`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from services.inference.adapters.port import AdapterHost
from services.inference.engine.model_card import ModelCard
from services.inference.engine.port import Prompt, no_ceiling
from services.inference.engine.status import EngineReadings, EngineStatus
from services.inference.engine.tokens import EngineTokens
from services.inference.engine.turn import Turn
from services.inference.errors import EngineFailed
from services.inference.reading.choices import Choices
from services.inference.reading.portions import Decode, Portion, RawOutput, cut, whole_characters
from services.inference.reading.step import ContentDelta, Step, StopReason, TurnEnd, TurnUsage
from services.inference.reading.turn_reader import TurnReader
from services.inference.settings import EngineSettings
from services.inference.vllm import environment  # noqa: F401 - it stands before vLLM's own imports
from services.inference.vllm.adapters import VllmAdapters, lora_request
from services.inference.vllm.card import model_card
from services.inference.vllm.parsers import model_parsers
from services.inference.vllm.rendering import Rendered, VllmRendering
from services.inference.vllm.start import build_llm
from services.inference.vllm.turns import sampling_params
from services.rpc.errors import InvalidRequest, Overloaded

# isort: split
from vllm.exceptions import GracefulHTTPError, VLLMClientError
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

# The engine's process has nothing to save; what it holds, the kernel and the driver take back.
CLOSE_SECONDS = 2.0


class VllmEngine:
    """A model that runs in vLLM. `start` one; it implements `Engine`."""

    def __init__(
        self, llm: AsyncLLM, settings: EngineSettings, readings: EngineReadings | None = None
    ) -> None:
        """Wrap a running `AsyncLLM` that was built with these readings."""
        self._llm = llm
        self._readings = readings or EngineReadings(settings.name)
        self._defaults: dict[str, Any] = llm.model_config.get_diff_sampling_param()
        parsers = model_parsers(llm.model_config, settings)
        self._card = model_card(llm, settings, parsers, self._defaults)
        self._tokens = EngineTokens(llm.get_tokenizer(), self._card.context_length)
        self._rendering = VllmRendering(llm, settings, parsers, self._defaults, self._card, self._tokens)
        self._adapters = VllmAdapters(llm, settings) if settings.max_adapters else None

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
        return await self._rendering.render(turn)

    async def tokenize(self, text: str, *, special: bool) -> tuple[int, ...]:
        """See `Engine.tokenize`."""
        return await self._tokens.of(text, special=special)

    async def detokenize(self, token_ids: Sequence[int], *, skip_special: bool) -> str:
        """See `Engine.detokenize`."""
        return await self._tokens.long_text(token_ids, skip_special=skip_special)

    async def token_texts(self, token_ids: Sequence[int]) -> tuple[bytes, ...]:
        """See `Engine.token_texts`."""
        return await self._tokens.texts(token_ids)

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
        decode = partial(self._tokens.text, skip_special=rendered.request.skip_special_tokens)
        choices = Choices(self._readers(rendered, decode))
        said = whole_characters(said, decode)
        outputs = self._outputs(prompt, max_output_tokens, request_id, said)
        echoed = raw is None or not raw.echo
        try:
            with self._typed_errors():
                if said:
                    again = Portion(decode(said), said, None)
                    for step in choices.read(0, again, 0, rendered.token_ids):
                        yield step
                async for output in outputs:
                    if not echoed:
                        echoed = True
                        for step in await self._echo(rendered, output.prompt_logprobs):
                            yield step
                        if raw is not None and raw.echo_only:
                            return
                    for step in _steps(choices, output, rendered.token_ids, decode, ceiling):
                        yield step
        finally:
            await outputs.aclose()

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        """Tell vLLM's errors as ours."""
        try:
            yield
        except (EngineDeadError, EngineGenerateError) as error:
            raise EngineFailed(self._card.name) from error
        except GracefulHTTPError as error:
            raise Overloaded(str(error)) from error
        except VLLMClientError as error:
            raise InvalidRequest(str(error)) from error

    async def _echo(self, rendered: Rendered, logprobs: Any) -> list[Step]:
        """The prompt, as each choice begins with it, and ends where that is all."""
        token_ids, sampling, raw = rendered.token_ids, rendered.turn.sampling, rendered.turn.raw
        text = raw.text if raw and raw.text else await self.detokenize(token_ids, skip_special=False)
        told = await asyncio.to_thread(self._tokens.logprobs, token_ids, logprobs, sampling.top_logprobs)
        usage = TurnUsage(len(token_ids))
        end = TurnEnd(StopReason.LENGTH) if raw and raw.echo_only else None
        return [
            Step((ContentDelta(text, choice, told),), usage, end, choice)
            for choice in range(sampling.choice_count)
        ]

    def _outputs(
        self, prompt: Prompt, max_output_tokens: int, request_id: str, said: Sequence[int]
    ) -> AsyncGenerator[Any, None]:
        rendered = cast("Rendered", prompt.native)
        inputs = rendered.inputs
        if said:
            # To the engine, what was said belongs to the prompt.
            inputs = {**inputs, "prompt_token_ids": [*rendered.token_ids, *said]}
        sampling = sampling_params(rendered.request, max_output_tokens - len(said), self._defaults)
        more: dict[str, Any] = {}
        if prompt.adapter is not None:
            more["lora_request"] = lora_request(prompt.adapter)
        if sampling.structured_outputs is not None and rendered.turn.raw is None:
            more |= self._rendering.reasoning(rendered)
        outputs: AsyncGenerator[Any, None] = self._llm.generate(inputs, sampling, request_id, **more)
        return outputs

    def _readers(self, rendered: Rendered, decode: Decode) -> list[TurnReader]:
        turn, request = rendered.turn, rendered.request
        top = turn.sampling.top_logprobs
        return [
            TurnReader(
                self._card.name,
                lambda: None if turn.raw else self._rendering.parser(request),
                request,
                len(rendered.token_ids),
                decode,
                choice=choice,
                logprobs=lambda output: self._tokens.logprobs(output.token_ids, output.logprobs, top),
            )
            for choice in range(turn.sampling.choice_count)
        ]

    async def failed(self) -> None:
        """See `Engine.failed`."""
        handler = self._llm.output_handler
        if handler is not None:
            # It ends when the engine process has, after it told all requests.
            await asyncio.wait({handler})

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._rendering.close()
        if self._adapters is not None:
            self._adapters.close()
        await asyncio.to_thread(self._llm.shutdown, CLOSE_SECONDS)
        # Its `__del__` must not run when the interpreter is already half gone.
        del self._llm, self._rendering


def _steps(
    choices: Choices,
    output: Any,
    prompt_ids: list[int],
    decode: Decode,
    ceiling: Callable[[], int | None],
) -> Iterator[Step]:
    """What an output of the engine adds, as far as the ceiling goes each time that more is asked for."""
    for completion in output.outputs:
        left: RawOutput | None = completion
        while left is not None:
            room = choices.room(ceiling(), one=left.logprobs is not None)
            now, left = cut(left, room, decode)
            cached = min(output.num_cached_tokens or 0, len(prompt_ids))
            yield from choices.read(completion.index, now, cached, prompt_ids)
