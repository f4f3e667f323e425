"""Train the demonstration model: `python models/parley-demo/train.py --minutes 180`.

Checkpoints, the log and the weights as they stand go to the work folder; `--install` copies the finished
weights beside this script. An interrupted run goes on with `--resume`.
"""

import argparse
import shutil
from pathlib import Path

import torch
from parley_demo.judging import banned_runs
from parley_demo.rendering import MODEL_FOLDER, RUN_FOLDER
from parley_demo.trainer import Plan, Run
from tokenizers import Tokenizer


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=180, help="wall-clock minutes of training in all")
    parser.add_argument("--work", type=Path, default=RUN_FOLDER, help="folder for checkpoints and logs")
    parser.add_argument("--resume", action="store_true", help="go on from the work folder's checkpoint")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--install", action="store_true", help="put the finished weights beside this script")
    return parser.parse_args()


def main() -> None:
    """Train, and install the weights if asked to."""
    options = _options()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(MODEL_FOLDER / "tokenizer.json"))
    run = Run(Plan(options.minutes, options.seed), options.work, tokenizer, banned_runs(), options.resume)
    run.train()
    if options.install:
        for name in ("model.safetensors", "config.json", "generation_config.json"):
            shutil.copy(options.work / name, MODEL_FOLDER / name)


if __name__ == "__main__":
    main()
