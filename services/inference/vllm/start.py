"""Starting vLLM's `AsyncLLM` with the processes that it needs."""

from __future__ import annotations

from bisect import bisect_left
from contextlib import AbstractContextManager, nullcontext
from typing import Any, get_args

from zmq import ZMQError

from services.inference.engine.status import EngineReadings
from services.inference.preflight import StartError, check_memory, check_model
from services.inference.settings import EngineSettings
from services.inference.vllm import environment  # noqa: F401 - it stands before vLLM's own imports
from services.inference.vllm.executor import CpuExecutor
from services.inference.vllm.images import image_arguments
from services.inference.vllm.parsers import model_parsers
from services.inference.vllm.stats import stat_logger

# isort: split
from vllm.config import StructuredOutputsConfig, VllmConfig
from vllm.config.lora import MaxLoRARanks
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.platforms import current_platform
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM

# Left alone, vLLM takes a large share of a CPU machine's memory.
CPU_KV_CACHE_BYTES = 2**30


def build_llm(settings: EngineSettings, readings: EngineReadings | None = None) -> AsyncLLM:
    """Start an engine with its processes; blocks until the weights are loaded.

    Args:
        settings: How it is built.
        readings: Takes down how it is doing; None where nobody asks.

    Raises:
        StartError: The model is missing or does not fit this machine.
    """
    folder = check_model(settings.model)
    if current_platform.is_cpu():
        check_memory(folder, settings.kv_cache_bytes or CPU_KV_CACHE_BYTES)
    try:
        config = engine_config(settings)
        # Engine and renderer must agree on where reasoning ends and the form of an answer begins.
        reasoning = model_parsers(config.model_config, settings).reasoning
        config.structured_outputs_config.reasoning_parser = reasoning
        with _threads(config):
            return AsyncLLM.from_vllm_config(
                config,
                usage_context=UsageContext.API_SERVER,
                stat_loggers=[stat_logger(readings)] if readings is not None else None,
                disable_log_stats=readings is None,
            )
    except (OSError, ValueError, RuntimeError, ZMQError) as error:
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        raise StartError(f"The engine cannot load {settings.model}: {first_line}") from error


def engine_config(settings: EngineSettings) -> VllmConfig:
    """The configuration that vLLM makes of these settings."""
    on_cpu = current_platform.is_cpu()
    eager = on_cpu if settings.enforce_eager is None else settings.enforce_eager
    more: dict[str, Any] = {}
    if settings.max_context_length:
        more["max_model_len"] = settings.max_context_length
    if on_cpu and settings.tensor_parallel_size * settings.pipeline_parallel_size == 1:
        more["distributed_executor_backend"] = CpuExecutor
    if settings.distributed_backend:
        more["distributed_executor_backend"] = settings.distributed_backend
    if settings.max_adapters:
        more |= _places_for_adapters(settings, on_cpu=on_cpu)
    arguments = AsyncEngineArgs(
        model=settings.model,
        dtype=settings.dtype,
        enforce_eager=eager,
        max_num_seqs=settings.max_running_requests or None,
        kv_cache_memory_bytes=settings.kv_cache_bytes or (CPU_KV_CACHE_BYTES if on_cpu else None),
        gpu_memory_utilization=settings.gpu_memory_utilization,
        tensor_parallel_size=settings.tensor_parallel_size,
        pipeline_parallel_size=settings.pipeline_parallel_size,
        # Its first request would decide which of the others serves all that follow.
        structured_outputs_config=StructuredOutputsConfig(backend="xgrammar"),
        use_tqdm_on_load=False,
        **image_arguments(settings.images),
        **more,
    )
    return arguments.create_engine_config(UsageContext.API_SERVER)


def _places_for_adapters(settings: EngineSettings, *, on_cpu: bool) -> dict[str, Any]:
    """A place for each adapter, so that none is put out to be read again when it is asked for.

    On CPU vLLM 0.32 changes what asks for no adapter by the one in the last place, which is -1 to
    torch. There is one more there, which stays empty.
    """
    ranks = sorted(get_args(MaxLoRARanks))
    rank = ranks[bisect_left(ranks, settings.max_adapter_rank)]
    places = settings.max_adapters + (1 if on_cpu else 0)
    return {"enable_lora": True, "max_lora_rank": rank, "max_loras": places, "max_cpu_loras": places}


def _threads(config: VllmConfig) -> AbstractContextManager[None]:
    """The environment that gives an engine started in it vLLM's own choice of threads and processors."""
    if config.parallel_config.distributed_executor_backend is not CpuExecutor:
        return nullcontext()
    from vllm.utils.ompmultiprocessing import OMPProcessManager

    threads: AbstractContextManager[None] = OMPProcessManager(config).configure_omp_envs(0, 0)
    return threads
