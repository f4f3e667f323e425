from __future__ import annotations

import io
import json
import logging
import logging.config
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from services.inference.images.image import FORMATS, ImageLimits, ImageType
from services.inference.settings import InferenceSettings
from services.inference.vllm import engine_logging
from tests.inference.replicas import Identity, settings_for


@pytest.mark.parametrize(
    ("model", "name", "served"),
    [
        ("models/parley-demo", "", "parley-demo"),
        ("models/parley-demo/", "", "parley-demo"),
        ("Qwen/Qwen3-0.6B", "", "Qwen3-0.6B"),
        ("Qwen/Qwen3-0.6B", "qwen", "qwen"),
    ],
)
def test_the_served_name(identity: Identity, model: str, name: str, served: str) -> None:
    settings = settings_for(identity("inference")).model_copy(update={"model": model, "model_name": name})
    assert settings.served_name == served
    assert settings.engine.name == served
    assert settings.engine.model == model


def test_every_engine_setting_is_passed_on(identity: Identity) -> None:
    changes: dict[str, Any] = {
        "dtype": "float32",
        "kv_cache_bytes": 7,
        "max_context_length": 8,
        "max_running_requests": 9,
        "enforce_eager": False,
        "gpu_memory_utilization": 0.5,
        "tensor_parallel_size": 2,
        "pipeline_parallel_size": 3,
        "distributed_backend": "ray",
        "tool_parser": "hermes",
        "reasoning_parser": "qwen3",
    }
    images = {"max_images": 1, "image_bytes": 2**10, "image_pixels": 2**11, "image_types": ["image/png"]}
    engine = settings_for(identity("inference"), **changes, **images).engine
    assert {name: getattr(engine, name) for name in changes} == changes
    assert engine.images == ImageLimits(1, 2**10, 2**11, ("image/png",))


def test_images_are_of_known_types_and_within_what_the_decoder_takes(identity: Identity) -> None:
    for changes in ({"image_types": ["image/tiff"]}, {"image_types": []}, {"image_pixels": 2**27}):
        with pytest.raises(ValidationError):
            settings_for(identity("inference"), **changes)
    assert set(get_args(ImageType)) == set(FORMATS)


def test_the_stores_password_is_not_shown(identity: Identity) -> None:
    settings = settings_for(identity("inference"))
    secret = InferenceSettings.model_fields["store_url"].annotation
    assert secret is not None
    assert "redis://" not in repr(settings)


def test_engine_lines_are_json_with_our_fields() -> None:
    config = json.loads((Path(engine_logging.__file__).with_name("engine_logging.json")).read_text())
    output = io.StringIO()
    config["handlers"]["stderr"]["stream"] = output
    logging.config.dictConfig(config)
    logging.getLogger("vllm.engine").warning("slow %s", "start")
    logging.getLogger("vllm.engine").info("chatter")
    (line,) = output.getvalue().splitlines()
    fields = json.loads(line)
    assert (fields["event"], fields["level"], fields["service"]) == ("slow start", "warning", "inference")
