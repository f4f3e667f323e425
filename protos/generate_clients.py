"""Generates the stubs of the clients in other languages, `clients/<language>/gen/`.

Usage: generate_clients.py [--check]

Without an option the stubs are written. `--check` writes nothing and exits 1
where the committed stubs differ from what the contracts give. A language whose
plug-in is not installed is left out, which is said.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from protos.generate import PROTOS, compile_image, report_drift

ROOT = PROTOS.parent
BUF = Path(sys.executable).with_name("buf")
CONTRACTS = ("parley/auth", "parley/inference", "parley/policy", "parley/tools")
"""What clients call; the edge's own contracts stay inside."""
LEFT_OUT = ("buf.validate", "google.api.http")
"""Options that servers and the edge go by. A client would carry them, and what they import, for nothing."""


@dataclass(frozen=True)
class Language:
    """A language that clients are written in.

    Attributes:
        folder: Where its client lies.
        plugins: The programs that make the stubs; they must be installed.
        messages: Messages of Google's that no package of the language brings.
        committed: Whether the stubs are, and so can differ from the contracts.
    """

    folder: Path
    plugins: tuple[Path, ...]
    messages: tuple[str, ...] = ()
    committed: bool = True

    @property
    def stubs(self) -> Path:
        """Where its stubs lie."""
        return self.folder / "gen"


TYPESCRIPT = Language(
    ROOT / "clients/typescript",
    (ROOT / "clients/typescript/node_modules/.bin/protoc-gen-es",),
    ("google/api/httpbody.proto", "google/rpc"),
)
GO = Language(
    ROOT / "clients/go", (Path("protoc-gen-go"), Path("protoc-gen-go-grpc")), committed=False
)  # docs/decisions/0266
LANGUAGES = (TYPESCRIPT, GO)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        image = Path(scratch) / "image.binpb"
        compile_image(Path(scratch), image, "google/rpc/error_details.proto")
        languages = [language for language in LANGUAGES if language.committed or not options.check]
        return max(settle(language, image, Path(scratch), check=options.check) for language in languages)


def settle(language: Language, image: Path, scratch: Path, *, check: bool) -> int:
    """Compare or replace the stubs of a language; return 1 where they differ."""
    missing = [plugin.name for plugin in language.plugins if shutil.which(plugin) is None]
    if missing:
        folder = language.folder.relative_to(ROOT)
        print(f"{folder}: left out, as {' and '.join(missing)} cannot be run", file=sys.stderr)
        return 0
    fresh = generate(language, image, scratch / language.folder.name)
    if check:
        return report_drift(language.stubs, fresh)
    shutil.rmtree(language.stubs, ignore_errors=True)
    shutil.copytree(fresh, language.stubs)
    return 0


def generate(language: Language, image: Path, target: Path) -> Path:
    """Write the stubs of a language below `target` and return their folder."""
    paths = [f"--path={path}" for path in (*CONTRACTS, *language.messages)]
    types = [f"--exclude-type={name}" for name in LEFT_OUT]
    template = language.folder / "buf.gen.yaml"
    command: list[str | Path] = [
        BUF,
        "generate",
        image,
        *paths,
        *types,
        "--template",
        template,
        "--output",
        target,
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    return target / language.stubs.name


if __name__ == "__main__":
    sys.exit(main())
