"""A folder of adapters, an engine that takes them, and an operator who loads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from services.inference.adapters.shelf import Shelf
from services.inference.adapters.wishes import PREFIX
from tests.conftest import TokenMaker
from tests.inference.adapters.made import BASE, make_adapter
from tests.inference.scripted import ScriptedEngine, ScriptedHost


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three adapters, one more than the engine holds."""
    for name in ("brief", "formal", "polite"):
        make_adapter(tmp_path / "adapters" / name)
    return tmp_path / "adapters"


@pytest.fixture
def shelf(folder: Path) -> Shelf:
    return Shelf(folder, 2**20, lambda: BASE)


@pytest.fixture
def engine() -> ScriptedEngine:
    return taking()


def taking() -> ScriptedEngine:
    """An engine that takes adapters."""
    made = ScriptedEngine()
    made.adapter_host = ScriptedHost()
    return made


@pytest.fixture(autouse=True)
async def nothing_wished(store: Redis) -> None:
    await store.delete(f"{PREFIX}scripted")


@pytest.fixture
def operator(tokens: TokenMaker) -> Any:
    """Call metadata of somebody who may do all that adapters need."""
    return tokens.metadata("inference.*", "models.*")
