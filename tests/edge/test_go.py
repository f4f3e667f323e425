"""gRPC from Go through the real edge: the example of the Go client, built with what Debian has of Go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import pytest_asyncio

from protos.generate import compile_image
from protos.generate_clients import GO, generate
from tests.edge.front import Front
from tests.edge.program import build, run
from tests.edge.toys import GOOD_KEY

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

MODULE = "parley.example/client"
LIBRARIES = os.environ.get("GOPATH", "/usr/share/gocode")
"""Where grpc-go lies: Debian has sources instead of modules, and so there is nothing to download."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built with stubs that are made of the contracts as they are."""
    folder = tmp_path_factory.mktemp("go")
    client = folder / "src" / MODULE
    client.mkdir(parents=True)
    compile_image(folder, folder / "image.binpb")
    generate(GO, folder / "image.binpb", client)
    (client / "examples").symlink_to(GO.folder / "examples")
    told = {"GO111MODULE": "off", "GOFLAGS": "", "GOPATH": f"{folder}:{LIBRARIES}"}
    await build(["go", "build", "-o", folder / "ask", f"{MODULE}/examples/ask"], folder, **told)
    return folder / "ask"


@pytest.mark.timeout(600)  # the first time grpc-go is compiled
async def test_a_program_in_go_streams_an_answer(edge: Front, program: Path) -> None:
    status, told, complaints = await run([program, "alpha beta"], edge, GOOD_KEY)
    assert (status, told, complaints) == (0, "alphabeta\nfinished: FINISH_REASON_STOP\n", "")


async def test_a_program_in_go_reads_why_it_is_refused(edge: Front, program: Path) -> None:
    status, told, complaints = await run([program, "alpha"], edge, "parley_unknown")
    assert (status, told) == (1, "")
    assert complaints.startswith("Unauthenticated KEY_INVALID: ")
