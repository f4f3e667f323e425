"""A real vLLM, with a model whose weights spell known texts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from services.inference.engine.port import Engine
from services.inference.settings import EngineSettings
from tests.inference.tiny_model import make
from tests.unmeasured import unmeasured


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("model"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(model: Path) -> AsyncIterator[Engine]:
    from services.inference.vllm.engine import VllmEngine

    settings = EngineSettings(model=str(model), name="tiny", kv_cache_bytes=64 * 2**20)
    with unmeasured():
        engine = await asyncio.to_thread(VllmEngine.load, settings)
    try:
        yield engine
    finally:
        await engine.close()
