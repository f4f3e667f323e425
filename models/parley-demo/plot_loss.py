"""Draw `training-loss.png` from a run's log: `python models/parley-demo/plot_loss.py` (needs matplotlib)."""

import argparse
import json
from pathlib import Path

from matplotlib import pyplot
from parley_demo.rendering import MODEL_FOLDER, RUN_FOLDER


def main() -> None:
    """Read `losses.json` (minutes and loss) and draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--losses", type=Path, default=RUN_FOLDER / "losses.json")
    parser.add_argument("--plot", type=Path, default=MODEL_FOLDER / "training-loss.png")
    options = parser.parse_args()
    minutes, losses = zip(*json.loads(options.losses.read_text(encoding="utf-8")), strict=True)
    figure, axes = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    axes.semilogy(minutes, losses, linewidth=1)
    axes.set(xlabel="minutes of training", ylabel="loss per learnt token (nats)", title="Parley demo model")
    axes.grid(visible=True, which="both", alpha=0.3)
    figure.savefig(options.plot, dpi=90)


if __name__ == "__main__":
    main()
