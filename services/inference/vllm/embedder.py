"""Pooling models on vLLM's `AsyncLLM`, and the choice between them and models that chat."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from services.inference.engine.embedder import Embedder, Form, Text
from services.inference.engine.model_card import ModelCard
from services.inference.engine.port import Engine
from services.inference.engine.status import EngineReadings
from services.inference.errors import ContextOverflow, DimensionsNotOffered, EngineFailed

# First, as it sets what vLLM reads from the environment.
from services.inference.vllm.engine import CLOSE_SECONDS, VllmEngine  # isort: skip
from services.inference.vllm.start import build_llm  # isort: skip
from vllm.config import ModelConfig
from vllm.exceptions import GracefulHTTPError, VLLMClientError
from vllm.inputs import tokens_input
from vllm.pooling_params import PoolingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from services.inference.preflight import StartError
from services.inference.settings import EngineSettings
from services.rpc.errors import Overloaded


def load_model(settings: EngineSettings) -> Engine | Embedder:
    """Load the model as what it is; blocks for as long as that takes.

    Raises:
        StartError: The model is missing or does not fit this machine.
    """
    readings = EngineReadings(settings.name)
    llm = build_llm(settings, readings)
    try:
        if llm.model_config.runner_type == "pooling":
            return VllmEmbedder(llm, settings)
        return VllmEngine(llm, settings, readings)
    except BaseException:
        llm.shutdown()
        raise


class VllmEmbedder:
    """A pooling model that runs in vLLM; it implements `Embedder`."""

    def __init__(self, llm: AsyncLLM, settings: EngineSettings) -> None:
        """Wrap a running `AsyncLLM`.

        Raises:
            StartError: The model pools something that is no embedding.
        """
        self._llm = llm
        self._config: ModelConfig = llm.model_config
        if self._config.pooler_config is None:
            raise StartError(f"The model {settings.model} makes no embeddings.")
        self._card = ModelCard(
            name=settings.name,
            context_length=self._config.max_model_len,
            vocabulary_size=self._config.get_vocab_size(),
            embedding_dimensions=self._config.embedding_size,
        )

    @property
    def card(self) -> ModelCard:
        """See `Embedder.card`."""
        return self._card

    @property
    def running(self) -> int:
        """See `Embedder.running`."""
        return int(self._llm.get_num_unfinished_requests())

    async def read(self, text: str, *, cut: bool) -> Text:
        """See `Embedder.read`."""
        tokenizer: Any = self._llm.get_tokenizer()
        most = self._card.context_length
        fitting = text[: most * tokenizer.max_chars_per_token]
        if len(fitting) < len(text) and not cut:
            raise ContextOverflow(-(-len(text) // tokenizer.max_chars_per_token), 0, most)
        tokens: list[int] = await asyncio.to_thread(tokenizer.encode, fitting)
        truncated = len(fitting) < len(text) or len(tokens) > most
        if len(tokens) > most:
            if not cut:
                raise ContextOverflow(len(tokens), 0, most)
            # Once more, because what the model wants at a text's end must not be cut off.
            tokens = await asyncio.to_thread(tokenizer.encode, fitting, truncation=True, max_length=most)
        return Text(len(tokens), truncated, tokens_input(tokens))

    def read_tokens(self, token_ids: Sequence[int], *, cut: bool) -> Text:
        """See `Embedder.read_tokens`."""
        most = self._card.context_length
        if len(token_ids) > most and not cut:
            raise ContextOverflow(len(token_ids), 0, most)
        fitting = list(token_ids[:most])
        return Text(len(fitting), len(fitting) < len(token_ids), tokens_input(fitting))

    async def embed(self, text: Text, form: Form, request_id: str) -> Sequence[float]:
        """See `Embedder.embed`."""
        options = PoolingParams(task="embed", dimensions=form.dimensions, use_activation=form.normalize)
        try:
            options.verify(self._config)
        except VLLMClientError as error:
            raise DimensionsNotOffered(self._card.name, form.dimensions or 0) from error
        try:
            native: Any = text.native
            async with aclosing(self._llm.encode(native, options, request_id)) as outputs:
                async for output in outputs:
                    if output.finished and output.error is None:
                        vector: list[float] = output.outputs.data.tolist()
                        return vector
        except (EngineDeadError, EngineGenerateError, VLLMClientError) as error:
            raise EngineFailed(self._card.name) from error
        except GracefulHTTPError as error:
            raise Overloaded(str(error)) from error
        raise EngineFailed(self._card.name)

    async def failed(self) -> None:
        """See `Embedder.failed`."""
        handler = self._llm.output_handler
        if handler is not None:
            # It ends when the engine process has, after it told all requests.
            await asyncio.wait({handler})

    async def close(self) -> None:
        """See `Embedder.close`."""
        await asyncio.to_thread(self._llm.shutdown, CLOSE_SECONDS)
        # Its `__del__` must not run when the interpreter is already half gone.
        del self._llm
