"""gRPC from Node through the real edge: the example of the TypeScript client."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_asyncio

from tests.edge.front import Front, until_healthy
from tests.edge.program import run
from tests.edge.toys import GOOD_KEY
from tests.edge.typescript import bundle

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

NODE = ("/usr/bin/env", "node")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def bundled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as Node runs it."""
    program = tmp_path_factory.mktemp("node") / "ask.mjs"
    await bundle("examples/ask.ts", program, "--platform=node")
    return program


@pytest_asyncio.fixture(loop_scope="session")
async def program(bundled: Path, edge: Front) -> Path:
    """The same, before an edge that answers."""
    await until_healthy(edge)
    return bundled


async def test_a_program_of_node_streams_an_answer(edge: Front, program: Path) -> None:
    status, told, complaints = await run([*NODE, program, "alpha beta"], edge, GOOD_KEY)
    assert (status, told, complaints) == (0, "alphabeta\nfinished: STOP\n", "")


async def test_a_program_of_node_reads_why_it_is_refused(edge: Front, program: Path) -> None:
    status, told, complaints = await run([*NODE, program, "alpha"], edge, "parley_unknown")
    assert (status, told) == (1, "")
    assert complaints.startswith("Unauthenticated KEY_INVALID: ")
