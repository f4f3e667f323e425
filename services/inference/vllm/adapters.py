"""LoRA adapters in vLLM's `AsyncLLM`."""

from __future__ import annotations

from services.inference.adapters.errors import AdapterInvalid
from services.inference.adapters.port import Adapter
from services.inference.errors import EngineFailed
from services.inference.settings import EngineSettings
from services.inference.vllm import environment  # noqa: F401 - it stands before vLLM's own imports

# isort: split
from vllm.lora.request import LoRARequest
from vllm.v1.engine.async_llm import AsyncLLM


def lora_request(adapter: Adapter) -> LoRARequest:
    """An adapter as vLLM takes it.

    Its prefix cache knows adapters by name and folder, so the name has the revision: other files in the
    same folder must not go on from what the ones before made of a prompt.
    """
    return LoRARequest(f"{adapter.model}@{adapter.revision}", adapter.number, str(adapter.folder))


class VllmAdapters:
    """Loads adapters into a running engine; it implements `AdapterHost`."""

    def __init__(self, llm: AsyncLLM, settings: EngineSettings) -> None:
        """Load into this engine, which was built with these settings."""
        self._llm: AsyncLLM | None = llm
        self._settings = settings

    @property
    def most_adapters(self) -> int:
        """See `AdapterHost.most_adapters`."""
        return self._settings.max_adapters

    @property
    def most_rank(self) -> int:
        """See `AdapterHost.most_rank`."""
        return self._settings.max_adapter_rank

    async def add(self, adapter: Adapter) -> None:
        """See `AdapterHost.add`."""
        try:
            await self._engine.add_lora(lora_request(adapter))
        except Exception as error:
            # What its process raises comes as a bare `Exception`; one that is dead forgets nothing.
            await self.remove(adapter)
            raise AdapterInvalid(adapter.folder.name, _fault(error, adapter)) from error

    async def remove(self, adapter: Adapter) -> None:
        """See `AdapterHost.remove`."""
        try:
            await self._engine.remove_lora(adapter.number)
        except Exception as error:
            raise EngineFailed(self._settings.name) from error

    @property
    def _engine(self) -> AsyncLLM:
        """The engine.

        Raises:
            EngineFailed: It is closed.
        """
        if self._llm is None:
            raise EngineFailed(self._settings.name)
        return self._llm

    def close(self) -> None:
        """Let the engine go, which is being closed."""
        self._llm = None


def _fault(error: Exception, adapter: Adapter) -> str:
    """What vLLM says, in one line and without the machine's paths."""
    said = (str(error) or type(error).__name__).splitlines()[0]
    return said.replace(str(adapter.folder), adapter.folder.name).rstrip(".")
