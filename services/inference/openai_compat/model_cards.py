"""The models as OpenAI's API lists them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from parley.inference.v1.model_pb2 import Model


def model_list(models: Iterable[Model]) -> dict[str, Any]:
    """`GET /v1/models`."""
    return {"object": "list", "data": [model_card(model) for model in models]}


def model_card(model: Model) -> dict[str, Any]:
    """One model. When it was made is not known; the last two fields are those of vLLM's server."""
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": "parley",
        "max_model_len": model.context_length or None,
        "parent": model.base_model or None,
    }
