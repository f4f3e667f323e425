"""What is found in the folder of adapters, and what of it can be loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from services.inference.adapters.base_model import base_shapes
from services.inference.adapters.errors import AdapterInvalid, AdapterNotFound
from services.inference.adapters.shelf import Shelf
from tests.inference.adapters.made import BASE, LAYER, make_adapter, pair

MOST_BYTES = 4096
MOST_RANK = 16
DEMO = Path(__file__).parents[3] / "models" / "parley-demo"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "adapters"


@pytest.fixture
def shelf(folder: Path) -> Shelf:
    return Shelf(folder, MOST_BYTES, lambda: BASE)


def test_an_adapter_that_fits_can_be_loaded(shelf: Shelf, folder: Path) -> None:
    made = make_adapter(folder / "polite")
    found = shelf.read("polite", MOST_RANK)
    assert (found.name, found.folder, found.rank) == ("polite", made, 2)
    assert found.size_bytes == (made / "adapter_model.safetensors").stat().st_size
    assert len(found.revision) == 16


def test_only_folders_of_adapters_are_listed(shelf: Shelf, folder: Path) -> None:
    assert shelf.names() == []
    for name in ("b", "a", ".hidden", "has space"):
        make_adapter(folder / name)
    (folder / "empty").mkdir()
    (folder / "file").write_text("")
    assert shelf.names() == ["a", "b"]


def test_other_files_are_another_revision(shelf: Shelf, folder: Path) -> None:
    revisions = set()
    for change in ({}, {"tensors": pair(value=2.0)}, {"alpha": 4}):
        make_adapter(folder / "polite", **change)
        revisions.add(shelf.read("polite", MOST_RANK).revision)
    assert len(revisions) == 3


@pytest.mark.parametrize(
    "name", ["none", "", ".", "..", "../adapters/polite", "polite/.", "/etc", "po\0lite"]
)
def test_no_name_leads_elsewhere(shelf: Shelf, folder: Path, name: str) -> None:
    make_adapter(folder / "polite")
    with pytest.raises(AdapterNotFound):
        shelf.read(name, MOST_RANK)


def config(text: str) -> Callable[[Path], None]:
    return lambda folder: _write(folder / "adapter_config.json", text.encode())


def weights(data: bytes) -> Callable[[Path], None]:
    return lambda folder: _write(folder / "adapter_model.safetensors", data)


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut_short(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def led_outside(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.rename(folder.parents[1] / "elsewhere")
    file.symlink_to(folder.parents[1] / "elsewhere")


def _write(file: Path, data: bytes) -> None:
    file.write_bytes(data)


LORA = {"peft_type": "LORA", "r": 2}


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (without("adapter_config.json"), "adapter_config.json is missing"),
        (without("adapter_model.safetensors"), "adapter_model.safetensors is missing"),
        (config("{"), "is no JSON"),
        (config("[" * 100_000), "is no JSON"),
        (config('"LORA"'), "peft_type"),
        (config(json.dumps({**LORA, "peft_type": "IA3"})), "peft_type"),
        (config(json.dumps({**LORA, "r": 0})), "no rank"),
        (config(json.dumps({**LORA, "r": True})), "no rank"),
        (config(json.dumps({**LORA, "r": 17})), "its rank is 17, and 16 is the highest here"),
        (config(" " * (2**20 + 1)), "adapter_config.json has 1048577 bytes"),
        (weights(b""), "no whole safetensors file"),
        (weights(b"\xff" * 64), "no whole safetensors file"),
        (weights(b" " * (MOST_BYTES + 1)), "adapter_model.safetensors has 4097 bytes"),
        (cut_short, "no whole safetensors file"),
        (led_outside, "leads out of the folder"),
    ],
    ids=[
        *(
            "no-config",
            "no-weights",
            "no-json",
            "deep-json",
            "no-object",
            "other-kind",
            "rank-0",
            "rank-true",
        ),
        *(
            "rank-17",
            "large-config",
            "empty-weights",
            "broken-weights",
            "large-weights",
            "cut-weights",
            "link",
        ),
    ],
)
def test_broken_files_are_refused(
    shelf: Shelf, folder: Path, spoil: Callable[[Path], None], fault: str
) -> None:
    spoil(make_adapter(folder / "polite"))
    with pytest.raises(AdapterInvalid) as caught:
        shelf.read("polite", MOST_RANK)
    assert fault in caught.value.message
    assert str(folder) not in caught.value.message


half = {name: tensor for name, tensor in pair().items() if "lora_A" in name}


@pytest.mark.parametrize(
    ("tensors", "fault"),
    [
        (pair(shape=(6, 4)), f"{LAYER} is 12x8 in the base model, and 6x4 in the adapter"),
        (pair(shape=(24, 8)), f"{LAYER} is 12x8 in the base model, and 24x8 in the adapter"),
        (pair("model.layers.9.self_attn.q_proj"), "the base model has no model.layers.9.self_attn.q_proj"),
        (half, f"{LAYER} lacks one of lora_A and lora_B"),
        ({**half, **{k: v[:, :1] for k, v in pair().items() if "lora_B" in k}}, "which are no pair"),
        ({"model.norm.weight": pair()[f"base_model.model.{LAYER}.lora_A.weight"]}, "it has no pair"),
        (pair(rank=17), "its rank is 17"),
    ],
    ids=["smaller", "larger", "no-layer", "half", "no-pair", "nothing", "rank"],
)
def test_weights_that_do_not_fit_are_refused(
    shelf: Shelf, folder: Path, tensors: dict[str, object], fault: str
) -> None:
    make_adapter(folder / "polite", tensors)
    with pytest.raises(AdapterInvalid) as caught:
        shelf.read("polite", MOST_RANK)
    assert fault in caught.value.message


def test_shapes_that_are_not_known_are_not_compared(folder: Path) -> None:
    make_adapter(folder / "polite", pair(shape=(6, 4)))
    assert Shelf(folder, MOST_BYTES, lambda: None).read("polite", MOST_RANK).rank == 2


def test_the_base_models_shapes_are_read_from_its_files(tmp_path: Path) -> None:
    shapes = base_shapes(str(DEMO))
    assert shapes is not None
    assert shapes["model.layers.0.mlp.down_proj.weight"] == (256, 512)
    assert base_shapes("nobody/has-this") is None
    (tmp_path / "config.json").write_text('{"quantization_config": {}}')
    assert base_shapes(str(tmp_path)) is None
