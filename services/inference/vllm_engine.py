"""The engine port on vLLM's `AsyncLLM`; the only module that imports vLLM.

Written for vLLM 0.32. The flow is that of its own chat endpoint
(`vllm.entrypoints.openai.chat_completion.serving`): its online renderer makes
token ids, `AsyncLLM.generate` gives deltas, its parser splits them into
reasoning, content and tool calls.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from services.inference.engine import ModelCard, Prompt, Step, Turn, no_ceiling
from services.inference.errors import ContextOverflow, EngineFailed, MessagesInvalid
from services.inference.fingerprint import fingerprint, prompt_identity
from services.inference.parsers import Parsers, choose
from services.inference.portions import cut
from services.inference.preflight import StartError, check_memory, check_model
from services.inference.settings import EngineSettings
from services.inference.turn_reader import DeltaParser, RawOutput, TurnReader
from services.rpc.errors import InvalidRequest, Overloaded

# vLLM reads these when it is imported; what the operator set stands.
for _name, _value in {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_CONFIG_PATH": str(Path(__file__).with_name("engine_logging.json")),
    # A fork would inherit gRPC's sockets and threads.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "TOKENIZERS_PARALLELISM": "false",
    # Torch writes plain text; what it warns of is for developers of models.
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "PYTHONWARNINGS": "ignore",
}.items():
    os.environ.setdefault(_name, _value)

from vllm import __version__ as vllm_version  # noqa: E402 - after the environment
from vllm.config import ModelConfig, VllmConfig  # noqa: E402
from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: E402
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest  # noqa: E402
from vllm.entrypoints.serve.engine.protocol import ErrorResponse  # noqa: E402
from vllm.exceptions import GracefulHTTPError, VLLMClientError  # noqa: E402
from vllm.platforms import current_platform  # noqa: E402
from vllm.renderers import TokenizeParams  # noqa: E402
from vllm.renderers.online_renderer import OnlineRenderer  # noqa: E402
from vllm.usage.usage_lib import UsageContext  # noqa: E402
from vllm.v1.engine.async_llm import AsyncLLM  # noqa: E402
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError  # noqa: E402

# Left alone, vLLM takes a large share of a CPU machine's memory.
CPU_KV_CACHE_BYTES = 2**30
# The engine's process has nothing to save; what it holds, the kernel and the driver take back.
CLOSE_SECONDS = 2.0


class RenderRequest(ChatCompletionRequest):
    """vLLM's request, counted by us: its own length check hides how long the prompt is."""

    def build_tok_params(self, model_config: ModelConfig) -> TokenizeParams:
        """Tokenize all of the text; `VllmEngine.render` bounds it first."""
        del model_config
        return TokenizeParams(max_total_tokens=None, add_special_tokens=self.add_special_tokens)


@dataclass(frozen=True, slots=True)
class Rendered:
    """What `VllmEngine.render` leaves for `generate`."""

    request: RenderRequest
    inputs: Any


def build_llm(settings: EngineSettings) -> AsyncLLM:
    """Start an engine with its processes; blocks until the weights are loaded.

    Raises:
        StartError: The model is missing or does not fit this machine.
    """
    folder = check_model(settings.model)
    if current_platform.is_cpu():
        check_memory(folder, settings.kv_cache_bytes or CPU_KV_CACHE_BYTES)
    try:
        config = engine_config(settings)
        return AsyncLLM.from_vllm_config(
            config, usage_context=UsageContext.API_SERVER, disable_log_stats=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        raise StartError(f"The engine cannot load {settings.model}: {first_line}") from error


def engine_config(settings: EngineSettings) -> VllmConfig:
    """The configuration that vLLM makes of these settings."""
    on_cpu = current_platform.is_cpu()
    eager = on_cpu if settings.enforce_eager is None else settings.enforce_eager
    limits: dict[str, Any] = {}
    if settings.max_context_length:
        limits["max_model_len"] = settings.max_context_length
    arguments = AsyncEngineArgs(
        model=settings.model,
        dtype=settings.dtype,
        enforce_eager=eager,
        max_num_seqs=settings.max_running_requests or None,
        kv_cache_memory_bytes=settings.kv_cache_bytes or (CPU_KV_CACHE_BYTES if on_cpu else None),
        gpu_memory_utilization=settings.gpu_memory_utilization,
        tensor_parallel_size=settings.tensor_parallel_size,
        pipeline_parallel_size=settings.pipeline_parallel_size,
        disable_log_stats=True,
        use_tqdm_on_load=False,
        **limits,
    )
    return arguments.create_engine_config(UsageContext.API_SERVER)


class VllmEngine:
    """A model that runs in vLLM. `start` one; it implements `Engine`."""

    def __init__(self, llm: AsyncLLM, settings: EngineSettings) -> None:
        """Wrap a running `AsyncLLM`."""
        self._llm = llm
        self._config: ModelConfig = llm.model_config
        self._defaults: dict[str, Any] = self._config.get_diff_sampling_param()
        parsers = self._choose_parsers(settings)
        try:
            self._renderer = _online_renderer(llm, parsers)
        except (TypeError, ValueError, KeyError) as error:
            raise StartError(f"The parsers {parsers} do not fit {settings.model}: {error}") from error
        self._card = ModelCard(
            name=settings.name,
            context_length=self._config.max_model_len,
            max_output_tokens=self._defaults.get("max_tokens"),
            supports_reasoning=bool(parsers.reasoning),
            supports_tools=bool(parsers.tools),
            fingerprint=self._fingerprint(settings, parsers),
        )

    @classmethod
    def load(cls, settings: EngineSettings) -> VllmEngine:
        """Load the model; blocks for as long as that takes.

        Raises:
            StartError: The model is missing or does not fit this machine.
        """
        llm = build_llm(settings)
        try:
            return cls(llm, settings)
        except BaseException:
            llm.shutdown()
            raise

    def _choose_parsers(self, settings: EngineSettings) -> Parsers:
        """The parsers that the settings name, or the model's family suggests."""
        template = getattr(self._llm.tokenizer, "chat_template", None)
        model_type = self._config.hf_config.model_type
        return choose(
            model_type,
            template if isinstance(template, str) else "",
            tools=settings.tool_parser,
            reasoning=settings.reasoning_parser,
        )

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

    async def render(self, turn: Turn) -> Prompt:
        """See `Engine.render`."""
        self._refuse_endless(turn)
        try:
            request = chat_request(turn)
            rendered = await self._renderer.render_chat(request)
        except (VLLMClientError, ValueError, TypeError) as error:
            raise MessagesInvalid(f"The model's chat template refuses the messages: {error}") from error
        if isinstance(rendered, ErrorResponse):
            raise MessagesInvalid(rendered.error.message)
        inputs: Any = rendered[1][0]
        tokens = len(inputs["prompt_token_ids"])
        return Prompt(tokens, Rendered(request, inputs), prompt_identity(inputs))

    def _refuse_endless(self, turn: Turn) -> None:
        """Refuse text that cannot fit before time is spent on its tokens.

        Raises:
            ContextOverflow: With the fewest tokens that the text could have.
        """
        per_token = self._llm.get_tokenizer().max_chars_per_token
        characters = sum(len(message.content) + len(message.reasoning) for message in turn.messages)
        fewest = -(-characters // per_token)
        if fewest > self._card.context_length:
            asked = turn.sampling.max_output_tokens or 1
            raise ContextOverflow(fewest, asked, self._card.context_length)

    async def generate(
        self,
        prompt: Prompt,
        *,
        max_output_tokens: int,
        request_id: str,
        ceiling: Callable[[], int | None] = no_ceiling,
    ) -> AsyncGenerator[Step, None]:
        """See `Engine.generate`."""
        rendered = cast("Rendered", prompt.native)
        reader = self._reader(rendered, prompt.tokens)
        outputs = self._outputs(rendered, max_output_tokens, request_id)
        try:
            async for output in outputs:
                left: RawOutput | None = output.outputs[0]
                while left is not None:
                    now, left = cut(left, _room(ceiling(), reader), self._decode)
                    yield reader.read(now, output.num_cached_tokens or 0, output.prompt_token_ids)
        except (EngineDeadError, EngineGenerateError) as error:
            raise EngineFailed(self._card.name) from error
        except GracefulHTTPError as error:
            raise Overloaded(str(error)) from error
        except VLLMClientError as error:
            raise InvalidRequest(str(error)) from error
        finally:
            await outputs.aclose()

    def _decode(self, token_ids: Sequence[int]) -> str:
        return str(self._llm.get_tokenizer().decode(list(token_ids)))

    def _outputs(
        self, rendered: Rendered, max_output_tokens: int, request_id: str
    ) -> AsyncGenerator[Any, None]:
        sampling = rendered.request.to_sampling_params(max_output_tokens, self._defaults)
        outputs: AsyncGenerator[Any, None] = self._llm.generate(rendered.inputs, sampling, request_id)
        return outputs

    def _reader(self, rendered: Rendered, prompt_tokens: int) -> TurnReader:
        return TurnReader(
            self._card.name, lambda: self._parser(rendered.request), rendered.request, prompt_tokens
        )

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
        return made

    async def failed(self) -> None:
        """See `Engine.failed`."""
        handler = self._llm.output_handler
        if handler is not None:
            # It ends when the engine process has, after it told all requests.
            await asyncio.wait({handler})

    async def close(self) -> None:
        """See `Engine.close`."""
        await asyncio.to_thread(self._llm.shutdown, CLOSE_SECONDS)
        # Its `__del__` must not run when the interpreter is already half gone.
        del self._llm


def _room(ceiling: int | None, reader: TurnReader) -> int | None:
    """Tokens that may still be read; one at least, as whoever reads on has seen to it."""
    return None if ceiling is None else max(1, ceiling - reader.tokens)


def _online_renderer(llm: AsyncLLM, parsers: Parsers) -> OnlineRenderer:
    return OnlineRenderer(
        llm.model_config,
        llm.renderer,
        request_logger=None,
        chat_template=None,
        chat_template_content_format="auto",
        enable_auto_tools=bool(parsers.tools),
        tool_parser=parsers.tools or None,
        reasoning_parser=parsers.reasoning or None,
    )


def chat_request(turn: Turn) -> RenderRequest:
    """A turn as vLLM's renderer and parser read it.

    Raises:
        ValueError: A field is not as vLLM's own model wants it.
    """
    options = {name: value for name, value in asdict(turn.sampling).items() if value is not None}
    options.pop("max_output_tokens", None)
    if turn.tools:
        options["tools"] = [{"type": "function", "function": asdict(tool)} for tool in turn.tools]
        options["tool_choice"] = "auto"
    if turn.reasoning is not None:
        # Families spell it differently; a template takes what it knows.
        options["chat_template_kwargs"] = {"enable_thinking": turn.reasoning, "thinking": turn.reasoning}
    return RenderRequest(messages=[_message(each) for each in turn.messages], stream=True, **options)


def _message(message: Any) -> dict[str, Any]:
    rendered: dict[str, Any] = {"role": message.role.value, "content": message.content}
    if message.reasoning:
        rendered["reasoning"] = message.reasoning
    if message.tool_call_id:
        rendered["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        rendered["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return rendered
