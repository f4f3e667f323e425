"""What every command pays for before it begins."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = "import sys, cli.__main__; print(*sorted({name.partition('.')[0] for name in sys.modules}))"


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The packages that are there once the command is."""
    ran = subprocess.run([sys.executable, "-P", "-c", LOADED], capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


@pytest.mark.parametrize("package", ["mcp", "aiohttp", "uvicorn", "gradio", "vllm", "torch", "transformers"])
def test_no_command_waits_for_what_few_need(loaded: set[str], package: str) -> None:
    assert package not in loaded
    assert "typer" in loaded
