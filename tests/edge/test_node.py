"""gRPC from Node through the real edge: the example of the TypeScript client."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from tests.edge.front import Front
from tests.edge.toys import GOOD_KEY
from tests.edge.typescript import bundle

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

SECONDS = 60


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as Node runs it."""
    program = tmp_path_factory.mktemp("node") / "ask.mjs"
    bundle("examples/ask.ts", program, "--platform=node")
    return program


async def run(program: Path, edge: Front, key: str, question: str) -> tuple[int | None, str, str]:
    """Run the example; gives its exit status and what it printed."""
    environment = {
        "PARLEY_ADDRESS": edge.address,
        "PARLEY_API_KEY": key,
        "PARLEY_AUTHORITY_PATH": str(edge.settings.tls_authority_path),
    }
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/env", "node", program, question, env=environment, stdout=PIPE, stderr=PIPE
    )
    told, complaints = await asyncio.wait_for(process.communicate(), SECONDS)
    return process.returncode, told.decode(), complaints.decode()


async def test_a_program_of_node_streams_an_answer(edge: Front, program: Path) -> None:
    status, told, complaints = await run(program, edge, GOOD_KEY, "alpha beta")
    assert (status, told, complaints) == (0, "alphabeta\nfinished: STOP\n", "")


async def test_a_program_of_node_reads_why_it_is_refused(edge: Front, program: Path) -> None:
    status, told, complaints = await run(program, edge, "parley_unknown", "alpha")
    assert (status, told) == (1, "")
    assert complaints.startswith("Unauthenticated KEY_INVALID: ")
