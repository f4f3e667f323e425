"""A real vLLM, with a model whose weights spell known texts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from services.inference.engine.port import Engine
from tests.inference.tiny_model import make
from tests.inference.vllm.asked import running


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("model"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(model: Path) -> AsyncIterator[Engine]:
    async with running(model) as engine:
        yield engine
