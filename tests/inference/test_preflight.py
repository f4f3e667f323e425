from __future__ import annotations

from pathlib import Path

import pytest

from services.inference.preflight import OVERHEAD_BYTES, StartError, check_memory, check_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1000)
    return tmp_path


def test_a_model_folder_is_taken(folder: Path) -> None:
    assert check_model(str(folder)) == folder


def test_a_name_of_hugging_face_is_no_folder() -> None:
    assert check_model("Qwen/Qwen3-0.6B") is None


@pytest.mark.parametrize("name", ["./missing", "/missing/model", "missing", "a/b/c"])
def test_a_folder_that_is_not_there(name: str) -> None:
    with pytest.raises(StartError, match="There is no model folder"):
        check_model(name)


@pytest.mark.parametrize(("lost", "line"), [("config.json", "no model"), ("model.safetensors", "no weights")])
def test_a_folder_without_a_model(folder: Path, lost: str, line: str) -> None:
    (folder / lost).unlink()
    with pytest.raises(StartError, match=line):
        check_model(str(folder))


def test_memory_that_suffices(folder: Path) -> None:
    check_memory(folder, 10, available_bytes=OVERHEAD_BYTES + 1010)
    with pytest.raises(StartError, match="Too little memory"):
        check_memory(folder, 10, available_bytes=OVERHEAD_BYTES + 1009)


def test_the_machine_is_asked() -> None:
    with pytest.raises(StartError, match="MiB"):
        check_memory(None, 2**60)
