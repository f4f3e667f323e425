"""What the headers of safetensors files tell of tensors, without reading their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

Shapes = Mapping[str, tuple[int, ...]]

# PEFT wraps the model that it trains, and names its parts from there.
PEFT_PREFIX = "base_model.model."
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
# Their checkpoints come fused and apart, under several names.
EXPERTS = ".experts"


class Unfit(Exception):
    """Weights that do not fit; the message says how, as the end of a sentence."""


def shapes(file: Path) -> Shapes:
    """The shapes of a file's tensors.

    Raises:
        Unfit: It is no whole safetensors file.
    """
    try:
        with safe_open(file, framework="numpy") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise Unfit(f"{file.name} is no whole safetensors file ({error})") from error


def model_shapes(folder: Path) -> Shapes:
    """The shapes of a model's tensors; empty where it has no safetensors.

    Raises:
        Unfit: A file is broken.
    """
    return {
        name: shape for file in sorted(folder.glob("*.safetensors")) for name, shape in shapes(file).items()
    }


def adapter_rank(adapter: Shapes, base: Shapes | None) -> int:
    """The highest rank of an adapter's parts, each of which fits the base model.

    The engine copies a part into room of the base model's shape, and would take a smaller one for a
    part with zeros.

    Args:
        adapter: Its tensors.
        base: The model's; None where their shapes are not those of the layers (it is quantized).

    Raises:
        Unfit: A part does not fit, or there is none.
    """
    parts = {name.removesuffix(DOWN) for name in adapter if name.endswith(DOWN)}
    parts |= {name.removesuffix(UP) for name in adapter if name.endswith(UP)}
    if not parts:
        raise Unfit("it has no pair of lora_A and lora_B")
    return max(_part_rank(part, adapter, base) for part in sorted(parts))


def _part_rank(part: str, adapter: Shapes, base: Shapes | None) -> int:
    down, up = adapter.get(part + DOWN), adapter.get(part + UP)
    layer = part.removeprefix(PEFT_PREFIX)
    if down is None or up is None:
        raise Unfit(f"{layer} lacks one of lora_A and lora_B")
    if len(down) != 2 or len(up) != 2 or down[0] != up[1]:
        raise Unfit(f"{layer} has shapes {_text(down)} and {_text(up)}, which are no pair")
    if base is not None and EXPERTS not in layer:
        _check_layer(layer, (up[0], down[1]), base)
    return down[0]


def _check_layer(layer: str, changes: tuple[int, int], base: Shapes) -> None:
    has = base.get(f"{layer}.weight")
    if has is None:
        raise Unfit(f"the base model has no {layer}")
    if has != changes:
        raise Unfit(f"{layer} is {_text(has)} in the base model, and {_text(changes)} in the adapter")


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
