from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from parley_demo.batches import Batch, Stream, drills
from parley_demo.export import blend, load_weights
from parley_demo.model import Llama, Shape
from parley_demo.rendering import MODEL_FOLDER
from parley_demo.trainer import Plan, Run
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

TINY = Shape(width=96, inner=64, layers=2, heads=3)
# Any time above none is a step, and the first takes longer than this.
ONE_STEP = Plan(minutes=1e-6, batch_tokens=600, shape=TINY)
NO_STEP = Plan(minutes=0.0, batch_tokens=600, shape=TINY)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(MODEL_FOLDER / "tokenizer.json"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> tuple[Path, Run]:
    work = tmp_path_factory.mktemp("run")
    run = Run(ONE_STEP, work, tokenizer, set())
    run.train()
    return work, run


def test_what_is_exported_is_the_averaged_weights(trained: tuple[Path, Run]) -> None:
    work, run = trained
    loaded = Llama(run.model.shape)
    load_weights(loaded, work / "model.safetensors")
    averaged, last = run.averaged.embed_tokens.weight, run.model.embed_tokens.weight
    assert torch.equal(loaded.embed_tokens.weight, averaged.to(torch.bfloat16).float())
    assert not torch.equal(averaged, last)


def test_a_resumed_run_goes_on_where_the_last_one_saved(
    trained: tuple[Path, Run], tokenizer: Tokenizer
) -> None:
    work, run = trained
    resumed = Run(NO_STEP, work, tokenizer, set(), resume=True)
    assert resumed.progress == run.progress
    assert torch.equal(resumed.model.embed_tokens.weight, run.model.embed_tokens.weight)
    assert torch.equal(resumed.averaged.embed_tokens.weight, run.averaged.embed_tokens.weight)


def test_a_run_may_start_from_exported_weights(
    trained: tuple[Path, Run], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    work, run = trained
    other = Run(NO_STEP, tmp_path, tokenizer, set(), weights=work / "model.safetensors")
    assert other.progress.step == 0
    assert torch.equal(
        other.model.embed_tokens.weight, run.averaged.embed_tokens.weight.to(torch.bfloat16).float()
    )


def test_processes_that_make_batches_draw_different_dialogues(tokenizer: Tokenizer) -> None:
    def rows(batches: Iterator[Batch]) -> set[tuple[int, ...]]:
        return {tuple(row) for row in next(batches).ids.tolist()}

    batches = Stream(tokenizer, 1, 600, set(), drills(1.0)).batches(workers=2)
    first, second = rows(batches), rows(batches)
    assert first
    assert second
    assert not first & second


def test_finished_weights_keep_a_share_of_those_before(tmp_path: Path) -> None:
    before, after = tmp_path / "before.safetensors", tmp_path / "after.safetensors"
    for file, value in ((before, 1.0), (after, 2.0)):
        save_file({"weight": torch.full((2,), value, dtype=torch.bfloat16)}, str(file))
    blend(before, after, 0.25)
    assert load_file(str(after))["weight"].tolist() == [1.75, 1.75]
