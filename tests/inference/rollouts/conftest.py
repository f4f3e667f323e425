"""Rollouts in a database, an operator who makes them, and users on whom they are tried."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from parley.inference.v1 import rollout_pb2
from parley.inference.v1 import rollout_service_pb2 as pb2
from services.inference.rollouts.library import RolloutLibrary
from services.inference.rollouts.schema import migrate
from services.sql.database import Database, parse_url
from tests.conftest import TokenMaker
from tests.postgresql import sqlite_url

ALIAS = "assistant"
PERMISSIONS = ("inference.chat", "models.*")


@pytest.fixture
async def library(tmp_path: Path) -> AsyncIterator[RolloutLibrary]:
    url = parse_url(sqlite_url(tmp_path / "rollouts.db"))
    await migrate(url)
    database = Database(url)
    yield RolloutLibrary(database, max_rollouts=3)
    await database.close()


@pytest.fixture
def operator(tokens: TokenMaker) -> Any:
    """Call metadata of somebody who may do all that rollouts need."""
    return tokens.metadata("inference.*", "models.*")


@pytest.fixture
def stranger(tokens: TokenMaker) -> Any:
    """Call metadata of an operator of another tenant."""
    return tokens.metadata("inference.*", "models.*", tenant_id="tenant-2")


def variant(name: str, weight: int, **fields: Any) -> rollout_pb2.RolloutVariant:
    return rollout_pb2.RolloutVariant(**{"name": name, "weight": weight, "model": "scripted", **fields})


def halves(**candidate: Any) -> list[rollout_pb2.RolloutVariant]:
    """The plain model for half of the users, and something else for the others."""
    return [variant("plain", 50), variant("candidate", 50, **candidate)]


def creation(*variants: rollout_pb2.RolloutVariant, **fields: Any) -> pb2.CreateRolloutRequest:
    return pb2.CreateRolloutRequest(**{"name": ALIAS, "variants": variants or halves(), **fields})
