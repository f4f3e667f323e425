"""LoRA adapters that the suite makes, and the base model that they fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from services.inference.adapters.weights import Shapes

LAYER = "model.layers.0.self_attn.q_proj"
BASE: Shapes = {f"{LAYER}.weight": (12, 8), "model.norm.weight": (8,)}


def pair(
    layer: str = LAYER, shape: tuple[int, int] = (12, 8), rank: int = 2, value: float = 1.0
) -> dict[str, Any]:
    """The two tensors that change a layer of this shape."""
    down = np.full((rank, shape[1]), value, dtype=np.float32)
    up = np.full((shape[0], rank), value, dtype=np.float32)
    name = f"base_model.model.{layer}"
    return {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}


def make_adapter(
    folder: Path, tensors: dict[str, Any] | None = None, *, rank: int = 2, alpha: float = 2, **more: Any
) -> Path:
    """Write an adapter as PEFT saves it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps({**config, **more}))
    save_file(pair() if tensors is None else tensors, folder / "adapter_model.safetensors")
    return folder
