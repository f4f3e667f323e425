"""Loads vLLM's models of requests when the first one comes."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

_MODULE = "services.inference.openai_compat.vllm_models"


class RequestModels:
    """vLLM's models, loaded once, on a thread: that takes seconds where no engine has loaded vLLM before."""

    def __init__(self) -> None:
        """Load nothing yet."""
        self._loading: asyncio.Task[Any] | None = None

    async def get(self) -> Any:
        """The module `vllm_models`."""
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(import_module, _MODULE))
        return await asyncio.shield(self._loading)
