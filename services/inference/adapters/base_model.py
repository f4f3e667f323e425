"""The base model's files, as far as adapters must fit them."""

from __future__ import annotations

import json
from pathlib import Path

from services.inference.adapters.weights import Shapes, model_shapes


def base_shapes(model: str) -> Shapes | None:
    """The shapes that a model's layers have; None where its files do not tell.

    Args:
        model: Its folder, or its name at Hugging Face, from where it was loaded.

    Raises:
        Unfit: Its files are broken.
    """
    folder = _folder(model)
    if folder is None or _is_quantized(folder):
        return None
    return model_shapes(folder) or None


def _folder(model: str) -> Path | None:
    if Path(model).is_dir():
        return Path(model)
    # It came with the engine, whose own import is late too.
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, local_files_only=True))  # nosec B615 - nothing is fetched: local files only
    except (OSError, ValueError):
        return None


def _is_quantized(folder: Path) -> bool:
    """Whether its weights are packed, so that their shapes are others than the layers'."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return True
    return "quantization_config" in config
