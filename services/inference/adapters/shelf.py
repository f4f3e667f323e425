"""The folder that adapters are loaded from: what is in it, and whether it can be loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from services.inference.adapters.errors import AdapterInvalid, AdapterNotFound
from services.inference.adapters.weights import Shapes, Unfit, adapter_rank, shapes
from services.inference.engine.fingerprint import file_digest

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}")
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
MOST_CONFIG_BYTES = 2**20
MOST_LISTED = 1000
REVISION_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """An adapter that can be loaded.

    Attributes:
        name: Its folder's name.
        folder: Where it lies.
        revision: Fingerprint of its files.
        rank: Its rank.
        size_bytes: Size of its weights.
    """

    name: str
    folder: Path
    revision: str
    rank: int
    size_bytes: int


class Shelf:
    """Reads adapters of one base model from a folder. Its methods block: call them in a thread."""

    def __init__(self, folder: Path, most_bytes: int, base: Callable[[], Shapes | None]) -> None:
        """Read from this folder.

        Args:
            folder: Has a folder for each adapter.
            most_bytes: Size that an adapter's weights may have.
            base: Reads the shapes of the base model's layers.
        """
        self._folder = folder
        self._most_bytes = most_bytes
        self._read_base = base

    @cached_property
    def _base(self) -> Shapes | None:
        return self._read_base()

    def names(self) -> list[str]:
        """The folders' names, as many as a list has."""
        try:
            found = sorted(entry.name for entry in self._folder.iterdir() if NAME.fullmatch(entry.name))
        except OSError:
            return []
        return [name for name in found[:MOST_LISTED] if (self._folder / name / CONFIG).is_file()]

    def read(self, name: str, most_rank: int) -> AdapterFiles:
        """Look at an adapter, and hold it against the base model.

        Raises:
            AdapterNotFound: There is no such folder.
            AdapterInvalid: What is in it cannot be loaded.
        """
        folder = self._folder / name
        if not NAME.fullmatch(name) or not folder.is_dir():
            raise AdapterNotFound(name)
        try:
            return self._read(name, folder, most_rank)
        except (Unfit, OSError) as error:
            fault = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise AdapterInvalid(name, fault) from error

    def _read(self, name: str, folder: Path, most_rank: int) -> AdapterFiles:
        config = self._file(folder, CONFIG, MOST_CONFIG_BYTES)
        weights = self._file(folder, WEIGHTS, self._most_bytes)
        rank = max(_configured_rank(config), adapter_rank(shapes(weights), self._base))
        if rank > most_rank:
            raise Unfit(f"its rank is {rank}, and {most_rank} is the highest here")
        revision = file_digest(config, weights).hex()[:REVISION_CHARACTERS]
        return AdapterFiles(name, folder, revision, rank, weights.stat().st_size)

    def _file(self, folder: Path, name: str, most_bytes: int) -> Path:
        """A file of an adapter.

        Raises:
            Unfit: It is not there, is larger than it may be, or lies outside of all adapters' folder.
        """
        file = folder / name
        if not file.is_file():
            raise Unfit(f"{name} is missing")
        if not file.resolve().is_relative_to(self._folder.resolve()):
            raise Unfit(f"{name} leads out of the folder of adapters")
        size = file.stat().st_size
        if size > most_bytes:
            raise Unfit(f"{name} has {size} bytes, and {most_bytes} are the most here")
        return file


def _configured_rank(file: Path) -> int:
    """The rank that a configuration names.

    Raises:
        Unfit: It is no configuration of a LoRA adapter.
    """
    try:
        config: Any = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Unfit(f"{file.name} is no JSON") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise Unfit(f'{file.name} has no "peft_type": "LORA"')
    rank = config.get("r")
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise Unfit(f"{file.name} has no rank r of 1 or more")
    return rank
