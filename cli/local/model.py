"""Which model a stack serves, and what it needs of the machine."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.failures import CommandError, ExitCode

DEMO = Path(__file__).resolve().parents[2] / "models" / "parley-demo"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
MODEL_VARIABLE = "PARLEY_INFERENCE_MODEL"
MODEL_NAME_VARIABLE = "PARLEY_INFERENCE_MODEL_NAME"
WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")


@dataclass(frozen=True)
class ModelChoice:
    """A model to serve.

    Attributes:
        source: A folder, or a name on Hugging Face.
        name: The name by which requests ask for it.
        weight_bytes: Size of its weights on disk; 0 where they are not here yet.
    """

    source: str
    name: str
    weight_bytes: int = 0


def choose_model(asked: str | None) -> ModelChoice:
    """The model for `--model`; the demo model where nothing was asked for.

    Raises:
        CommandError: There is no such model.
    """
    folder = Path(asked).expanduser() if asked else DEMO
    if folder.is_dir():
        return _local(folder.resolve())
    if asked and HUB_NAME.fullmatch(asked):
        return ModelChoice(asked, asked.rpartition("/")[2])
    raise CommandError(
        f"There is no model at {folder}.",
        "Give --model a folder with config.json and weights, or a Hugging Face name like org/name.",
        ExitCode.MACHINE,
    )


def choose_models(asked: Sequence[str], environment: Mapping[str, str]) -> tuple[ModelChoice, ...]:
    """The models for `--model`, given once or more; see `choose_model`.

    Raises:
        CommandError: There is no such model, or two would have the same name.
    """
    chosen = tuple(map(choose_model, asked))
    names = [model.name for model in chosen]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        message = f"Two models are named {twice}."
        raise CommandError(message, "Their folders' last names must differ.", ExitCode.MACHINE)
    if len(chosen) > 1 and environment.get(MODEL_NAME_VARIABLE):
        message = f"{MODEL_NAME_VARIABLE} names one model, and {len(chosen)} are to be served."
        raise CommandError(message, "Unset it: each has the name of its folder.", ExitCode.MACHINE)
    return chosen


def choose_local_model(asked: str | None) -> ModelChoice:
    """The model for a bench, which changes a copy of its folder; see `choose_model`.

    Raises:
        CommandError: There is no such model, or it is in no folder.
    """
    chosen = choose_model(asked)
    if not Path(chosen.source).is_dir():
        raise CommandError(
            "The bench needs the model in a folder.", "Download it and give --model its folder."
        )
    return chosen


def _local(folder: Path) -> ModelChoice:
    """A model in a folder.

    Raises:
        CommandError: The folder holds no model.
    """
    weights = [file for pattern in WEIGHTS for file in folder.glob(pattern)]
    missing = "config.json" if not (folder / "config.json").is_file() else "" if weights else "weights"
    if missing:
        raise CommandError(
            f"{folder} is no model: it holds no {missing}.",
            "Give --model a folder in Hugging Face's layout.",
            ExitCode.MACHINE,
        )
    return ModelChoice(str(folder), folder.name, sum(file.stat().st_size for file in weights))
