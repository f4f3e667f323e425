"""Models and prompts are told apart by what decides the answer."""

from __future__ import annotations

from pathlib import Path

from services.inference.engine.fingerprint import WHOLE_BYTES, fingerprint, prompt_identity


def test_a_folder_is_told_by_its_files_and_settings(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"\x00" * (WHOLE_BYTES + 7))
    (tmp_path / "config.json").write_text("{}")
    seen = [fingerprint(str(tmp_path), None, "bfloat16"), fingerprint(str(tmp_path), None, "float32")]
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    seen.append(fingerprint(str(tmp_path), None, "bfloat16"))
    (tmp_path / "config.json").write_text("[]")
    seen.append(fingerprint(str(tmp_path), None, "bfloat16"))
    assert len(set(seen)) == 4
    assert fingerprint(str(tmp_path), None, "bfloat16") == seen[-1]


def test_a_name_is_told_by_its_commit_alone() -> None:
    assert fingerprint("org/model", None) == ""
    assert fingerprint("org/model", "a") != fingerprint("org/model", "b")


def test_prompts_are_told_by_their_tokens_and_pictures() -> None:
    prompts = [
        {"prompt_token_ids": [1, 2]},
        {"prompt_token_ids": [2, 1]},
        {"prompt_token_ids": [1, 2], "mm_hashes": {"image": ["a"]}},
        {"prompt_token_ids": [1, 2], "mm_hashes": {"image": ["b"]}},
    ]
    assert len({prompt_identity(prompt) for prompt in prompts}) == 4
