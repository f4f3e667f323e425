"""The TypeScript client, as the tests of the edge use it."""

from __future__ import annotations

from pathlib import Path

from tests.edge.program import build

TYPESCRIPT = Path(__file__).parents[2] / "clients/typescript"
INSTALLED = (TYPESCRIPT / "node_modules").is_dir()
"""The set-up installs what it needs where npm is, and says so where it is not."""


async def bundle(program: str, target: Path, *options: str) -> None:
    """Make one file of JavaScript of a program and all that it imports."""
    command = [TYPESCRIPT / "node_modules/.bin/esbuild", program, "--bundle", "--format=esm", *options]
    await build([*command, f"--outfile={target}", "--log-level=warning"], TYPESCRIPT)
