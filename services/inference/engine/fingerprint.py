"""Tells models apart by what decides how they answer."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any

WHOLE_BYTES = 4 * 2**20
SAMPLES = 16
SAMPLE_BYTES = 64 * 2**10


def fingerprint(model: str, commit: str | None, *settings: str) -> str:
    """Digest of a model's weights and files, and of settings that change its answers.

    Args:
        model: Its folder, or its name at Hugging Face.
        commit: The commit that was downloaded; None where it is not known.
        settings: What else decides.

    Returns:
        An empty text where the weights cannot be told from others.
    """
    folder = Path(model)
    if folder.is_dir():
        parts: Iterable[bytes] = _files(folder)
    elif commit:
        parts = (model.encode(), commit.encode())
    else:
        return ""
    return digest(*parts, *(setting.encode() for setting in settings)).hex()


def digest(*parts: bytes) -> bytes:
    """One digest of several parts, that no other cut of them has."""
    made = hashlib.sha256()
    for part in parts:
        made.update(len(part).to_bytes(8))
        made.update(part)
    return made.digest()


def file_digest(*files: Path) -> bytes:
    """Digest of all that files hold."""
    return digest(*(_whole(file) for file in files))


def prompt_identity(inputs: Any) -> bytes:
    """Digest of a prompt as vLLM's renderer gives it: its tokens, and its pictures where it has some."""
    tokens = array("I", inputs["prompt_token_ids"]).tobytes()
    pictures = inputs.get("mm_hashes") or {}
    return digest(tokens, repr(sorted(pictures.items())).encode())


def _whole(file: Path) -> bytes:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()


def _files(folder: Path) -> Iterable[bytes]:
    """The folder's files, by name: small ones whole, of large ones pieces from all over."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            yield path.name.encode()
            yield from _pieces(path)


def _pieces(path: Path) -> Iterable[bytes]:
    size = path.stat().st_size
    yield size.to_bytes(8)
    with path.open("rb") as file:
        if size <= WHOLE_BYTES:
            yield file.read()
            return
        for number in range(SAMPLES):
            file.seek((size - SAMPLE_BYTES) * number // (SAMPLES - 1))
            yield file.read(SAMPLE_BYTES)
