"""What the inference service is told by its environment, `PARLEY_INFERENCE_*`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import DirectoryPath, Field, SecretStr, field_validator

from services.inference.images.image import ImageLimits, ImageType
from services.inference.resumption.tape import Bounds
from services.inference.runs.coalescing import Gathering
from services.inference.runs.slow_readers import PATIENCE_SECONDS
from services.inference.turn_cache.limits import CacheLimits
from services.ledger.lease import LeaseLife
from services.rpc.settings import ServiceSettings, settings_config
from services.sql.database import parse_url

Dtype = Literal["auto", "bfloat16", "float16", "float32"]
DistributedBackend = Literal["mp", "ray"]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How one engine is built; also what a bench builds its baseline from.

    Attributes:
        model: Folder of the model, or its name at Hugging Face.
        name: The name under which it is served.
        dtype: Type of the weights in memory; `auto` takes the model's own.
        kv_cache_bytes: Memory for keys and values; None means 1 GiB on CPU, and
            on a GPU what `gpu_memory_utilization` leaves.
        max_context_length: Tokens of prompt and answer; 0 takes the model's own.
        max_running_requests: Requests generated at once; 0 lets the engine choose.
        enforce_eager: Whether to run without compiled graphs; None means so on
            CPU, where compiling takes longer than it saves.
        gpu_memory_utilization: Share of a GPU's memory that may be used.
        tensor_parallel_size: GPUs that share each layer.
        pipeline_parallel_size: Groups of GPUs that share the layers.
        distributed_backend: What holds the workers together; None means processes
            of one host. Those of several hosts are Ray's.
        tool_parser: The engine's parser of tool calls; empty picks one.
        reasoning_parser: The engine's parser of reasoning; empty picks one.
        max_adapters: LoRA adapters that it holds at once; 0 for none, which costs nothing.
        max_adapter_rank: The highest rank that one may have.
        images: What requests may bring of them, to a model that takes some.
    """

    model: str
    name: str
    dtype: Dtype = "auto"
    kv_cache_bytes: int | None = None
    max_context_length: int = 0
    max_running_requests: int = 0
    enforce_eager: bool | None = None
    gpu_memory_utilization: float = 0.9
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    distributed_backend: DistributedBackend | None = None
    tool_parser: str = ""
    reasoning_parser: str = ""
    max_adapters: int = 0
    max_adapter_rank: int = 16
    images: ImageLimits = field(default_factory=ImageLimits)


class InferenceSettings(ServiceSettings):
    """What the inference service is told."""

    model_config = settings_config("PARLEY_INFERENCE_")

    auth_address: str = Field(description="host:port of the auth service, for its signing keys")
    tools_address: str = Field(description="host:port of the tools service")
    store_url: SecretStr = Field(
        description="redis:// URL of the store that carries letters between replicas"
    )
    ledger_url: SecretStr = Field(
        SecretStr(""),
        description="redis:// URL of the store that counts usage, which must never evict; default: STORE_URL",
    )
    database_url: SecretStr = Field(
        SecretStr(""),
        description="sqlite+aiosqlite:///PATH or postgresql+asyncpg://… of stored conversations and "
        "rollouts, the auth service's or another; empty: there are none; a secret",
    )
    cache_url: SecretStr = Field(
        SecretStr(""),
        description="redis:// URL of the store that keeps answers, which may evict; empty: no cache",
    )
    cache_seconds: float = Field(3600, ge=1, le=2_592_000, description="life of an answer in the cache")
    cache_entry_bytes: int = Field(
        262_144, ge=1024, le=16_777_216, description="a longer model turn, compressed, is not kept"
    )
    cache_tenant_bytes: int = Field(
        33_554_432, ge=1024, description="what a tenant may add to the cache within CACHE_SECONDS"
    )
    quota_slice_tokens: int = Field(
        64, ge=1, le=4096, description="tokens of answer that a run has granted and not used, at most"
    )
    lease_seconds: float = Field(
        15, ge=1, le=600, description="after this a run that is not heard of frees its place"
    )
    resume_run_bytes: int = Field(
        2 * 2**20, ge=2**10, le=2**30, description="events kept of a run that can be resumed, at most"
    )
    resume_total_bytes: int = Field(
        32 * 2**20,
        ge=0,
        le=2**40,
        description="events kept of all such runs, here and in STORE_URL; 0: none, a cut cancels every run",
    )
    model: str = Field(min_length=1, description="folder of the model, or its name at Hugging Face")
    model_name: str = Field("", max_length=256, description="name it is served under; default: its last part")
    dtype: Dtype = Field("auto", description="type of the weights")
    kv_cache_bytes: int | None = Field(
        None, ge=1, description="memory for keys and values; default: 1 GiB on CPU, what is left on a GPU"
    )
    max_context_length: int = Field(0, ge=0, description="tokens of prompt and answer; 0: the model's own")
    max_running_requests: int = Field(0, ge=0, description="requests generated at once; 0: the engine's own")
    max_waiting_requests: int = Field(
        4096, ge=0, le=100_000, description="requests that wait for a slot of the engine at most"
    )
    role_weights: dict[str, Annotated[float, Field(gt=0, le=1000)]] = Field(
        default_factory=dict,
        description="what callers are due of a busy engine, by role, as JSON; default: 1 each",
    )
    coalesce_seconds: float = Field(
        0.08, ge=0, le=1, description="time that text is gathered at most while many streams run; 0: never"
    )
    coalesce_bytes: int = Field(
        16_384, ge=1, le=2**20, description="text that an event has at most when it was gathered"
    )
    reader_seconds: float = Field(
        PATIENCE_SECONDS, gt=0, le=3600, description="time that a client may take over a message of a stream"
    )
    enforce_eager: bool | None = Field(None, description="run without compiled graphs; default: on CPU only")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of a GPU's memory to use")
    tensor_parallel_size: int = Field(1, ge=1, description="GPUs that share each layer")
    pipeline_parallel_size: int = Field(1, ge=1, description="groups of GPUs that share the layers")
    distributed_backend: DistributedBackend | None = Field(
        None, description="what holds GPUs together: `mp`, or `ray` for several hosts; default: one host's"
    )
    tool_parser: str = Field("", description="parser of tool calls, or none; default: by the family")
    reasoning_parser: str = Field("", description="parser of reasoning, or none; default: by the family")
    adapters_path: DirectoryPath | None = Field(
        None, description="folder with a folder for each LoRA adapter that can be loaded; default: none can"
    )
    max_adapters: int = Field(4, ge=1, le=64, description="adapters of ADAPTERS_PATH that are loaded at once")
    max_adapter_rank: int = Field(16, ge=1, le=512, description="highest rank that an adapter may have")
    max_adapter_bytes: int = Field(
        2**30, ge=2**10, le=2**40, description="size of an adapter's weights on disk"
    )
    max_images: int = Field(
        ImageLimits().count, ge=0, le=256, description="images that a request may bring; 0: none"
    )
    image_bytes: int = Field(
        ImageLimits().file_bytes, ge=1024, le=16 * 2**20, description="size of the file of an image"
    )
    image_pixels: int = Field(
        ImageLimits().pixels, ge=1024, le=2**26, description="pixels of an image; in memory, each has 3 bytes"
    )
    image_types: tuple[ImageType, ...] = Field(
        ImageLimits().media_types, min_length=1, description="media types of images that are taken, as JSON"
    )
    load_seconds: float = Field(1800, gt=0, description="time that loading and warming up may take")

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr) -> SecretStr:
        """Refuse what is no database URL, without repeating it."""
        if value.get_secret_value():
            parse_url(value.get_secret_value())
        return value

    @property
    def ledger(self) -> str:
        """The URL of the ledger's store; a secret."""
        return self.ledger_url.get_secret_value() or self.store_url.get_secret_value()

    @property
    def cache_limits(self) -> CacheLimits:
        """How much the cache keeps, and for how long."""
        return CacheLimits(self.cache_seconds, self.cache_entry_bytes, self.cache_tenant_bytes)

    @property
    def lease_life(self) -> LeaseLife:
        """How leases are held."""
        return LeaseLife(self.quota_slice_tokens, self.lease_seconds)

    @property
    def resume_bounds(self) -> Bounds:
        """What is kept of runs that outlive their clients."""
        return Bounds(self.resume_run_bytes, self.resume_total_bytes, self.grace_seconds)

    @property
    def gathering(self) -> Gathering:
        """How much text is gathered under load."""
        return Gathering(self.coalesce_seconds, self.coalesce_bytes)

    @property
    def image_limits(self) -> ImageLimits:
        """What requests may bring of images."""
        return ImageLimits(self.max_images, self.image_bytes, self.image_pixels, self.image_types)

    @property
    def served_name(self) -> str:
        """The name under which the model is served."""
        return self.model_name or self.model.rstrip("/").rpartition("/")[2]

    @property
    def engine(self) -> EngineSettings:
        """How the engine is built."""
        return EngineSettings(
            model=self.model,
            name=self.served_name,
            dtype=self.dtype,
            kv_cache_bytes=self.kv_cache_bytes,
            max_context_length=self.max_context_length,
            max_running_requests=self.max_running_requests,
            enforce_eager=self.enforce_eager,
            gpu_memory_utilization=self.gpu_memory_utilization,
            tensor_parallel_size=self.tensor_parallel_size,
            pipeline_parallel_size=self.pipeline_parallel_size,
            distributed_backend=self.distributed_backend,
            tool_parser=self.tool_parser,
            reasoning_parser=self.reasoning_parser,
            max_adapters=self.max_adapters if self.adapters_path else 0,
            max_adapter_rank=self.max_adapter_rank,
            images=self.image_limits,
        )
