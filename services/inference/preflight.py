"""What is checked before a model is loaded, so that what is missing is said in one line."""

from __future__ import annotations

from pathlib import Path

import psutil

# What the service and the engine's processes take beside weights and cache,
# measured with vLLM 0.32 on CPU and rounded up.
OVERHEAD_BYTES = 2 * 2**30
MEBIBYTE = 2**20


class StartError(Exception):
    """The service cannot start; the message says why and what to do, in one line."""


def check_model(model: str) -> Path | None:
    """The model's folder; None where the name is one of Hugging Face.

    Raises:
        StartError: It is meant to be a folder and is none, or has no model.
    """
    folder = Path(model)
    if not folder.exists():
        if model.startswith((".", "/", "~")) or model.count("/") != 1:
            raise StartError(f"There is no model folder {model}; set PARLEY_INFERENCE_MODEL.")
        return None
    if not (folder / "config.json").is_file():
        raise StartError(f"The folder {model} holds no model: config.json is missing.")
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise StartError(f"The folder {model} holds no weights: there is no .safetensors file.")
    return folder


def check_memory(folder: Path | None, kv_cache_bytes: int, available_bytes: int | None = None) -> None:
    """Refuse to load what the machine's memory cannot hold.

    Args:
        folder: The model's folder; None skips the weights, which are not here yet.
        kv_cache_bytes: Memory for keys and values.
        available_bytes: Memory that is free; default: ask the machine.

    Raises:
        StartError: There is too little.
    """
    free = psutil.virtual_memory().available if available_bytes is None else available_bytes
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors")) if folder else 0
    needed = weights + kv_cache_bytes + OVERHEAD_BYTES
    if needed > free:
        raise StartError(
            f"Too little memory: the model needs about {needed // MEBIBYTE} MiB and {free // MEBIBYTE} MiB "
            "are free. Free some, lower PARLEY_INFERENCE_KV_CACHE_BYTES, or take a smaller model."
        )
