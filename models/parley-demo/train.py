"""Train the demonstration model: `python models/parley-demo/train.py --minutes 180`.

Checkpoints, the log and the weights as they stand go to the work folder; `--install` copies the finished
weights beside this script. An interrupted run goes on with `--resume`.
"""

import argparse
import os
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from parley_demo.export import blend
from parley_demo.judging import banned_runs
from parley_demo.model import Shape
from parley_demo.rendering import MODEL_FOLDER, RUN_FOLDER
from parley_demo.trainer import Plan, Run
from tokenizers import Tokenizer

_HEAD = 32


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=180, help="wall-clock minutes of training in all")
    parser.add_argument("--work", type=Path, default=RUN_FOLDER, help="folder for checkpoints and logs")
    parser.add_argument("--resume", action="store_true", help="go on from the work folder's checkpoint")
    parser.add_argument("--weights", type=Path, help="exported weights to start from, not from nothing")
    parser.add_argument("--keep", type=float, default=0.0, help="share of those in the finished weights")
    parser.add_argument("--rates", type=float, default=1.0, help="share of the usual learning rates")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of the training itself")
    parser.add_argument("--workers", type=int, help="processes that make batches (default: by the device)")
    parser.add_argument("--batch-tokens", type=int, default=3600, help="padded tokens of a batch")
    parser.add_argument("--width", type=int, default=Shape.width, help="width of the model, 32 to a head")
    parser.add_argument("--inner", type=int, default=Shape.inner, help="width of its feed-forward parts")
    parser.add_argument("--layers", type=int, default=Shape.layers)
    parser.add_argument("--install", action="store_true", help="put the finished weights beside this script")
    return parser.parse_args()


def _plan(options: argparse.Namespace) -> Plan:
    shape = Shape(
        width=options.width, inner=options.inner, layers=options.layers, heads=options.width // _HEAD
    )
    spare = max(0, (os.cpu_count() or 1) - 2) if options.device == "cuda" else 0
    plan = Plan(
        options.minutes,
        options.seed,
        batch_tokens=options.batch_tokens,
        shape=shape,
        device=options.device,
        workers=spare if options.workers is None else options.workers,
    )
    # Weights that are given can copy already.
    return replace(plan.gentler(options.rates), copying_minutes=0.0 if options.weights else 3.0)


def main() -> None:
    """Train, and install the weights if asked to."""
    options = _options()
    torch.set_num_threads(options.threads)
    if options.device == "cuda":
        torch.set_float32_matmul_precision("high")
    options.work.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(MODEL_FOLDER / "tokenizer.json"))
    run = Run(_plan(options), options.work, tokenizer, banned_runs(), options.weights, options.resume)
    run.train()
    if options.weights and options.keep:
        blend(options.weights, options.work / "model.safetensors", options.keep)
    if options.install:
        for name in ("model.safetensors", "config.json", "generation_config.json"):
            shutil.copy(options.work / name, MODEL_FOLDER / name)


if __name__ == "__main__":
    main()
