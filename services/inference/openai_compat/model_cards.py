"""The models as OpenAI's API lists them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from services.inference.models import ServedModel


def model_list(models: Iterable[ServedModel]) -> dict[str, Any]:
    """`GET /v1/models`."""
    return {"object": "list", "data": [model_card(model) for model in models]}


def model_card(model: ServedModel) -> dict[str, Any]:
    """One model. When it was made is not known; `max_model_len` is how vLLM's server names the context."""
    card = model.card
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": "parley",
        "max_model_len": card.context_length if card is not None else None,
    }
