"""From the domain to the contract: what models can do, and how they are doing."""

from __future__ import annotations

from collections.abc import Sequence

from parley.inference.v1 import model_pb2
from services.inference.engine.model_card import ModelCard
from services.inference.engine.port import Engine
from services.inference.images.image import ImageLimits
from services.inference.models import ModelState, ServedModel

_STATES = {
    ModelState.LOADING: model_pb2.MODEL_STATE_LOADING,
    ModelState.READY: model_pb2.MODEL_STATE_READY,
    ModelState.FAILED: model_pb2.MODEL_STATE_FAILED,
}


def model(served: ServedModel) -> model_pb2.Model:
    """A model as `ListModels` shows it."""
    card = served.card
    return model_pb2.Model(
        name=served.name,
        context_length=card.context_length if card else 0,
        is_default=served.is_default,
        state=_STATES[served.state],
        supports_reasoning=card is not None and card.supports_reasoning,
        supports_tools=card is not None and card.supports_tools,
        revision=card.revision if card else "",
        vocabulary_size=card.vocabulary_size if card else 0,
        default_max_output_tokens=(card.max_output_tokens or 0) if card else 0,
        capabilities=_capabilities(card) if card else (),
        supports_embeddings=card is not None and card.supports_embeddings,
        embedding_dimensions=card.embedding_dimensions if card else 0,
        base_model=served.base_model,
        image_limits=_image_limits(card.image_limits) if card and card.image_limits else None,
    )


def alias(name: str, models: Sequence[model_pb2.Model]) -> model_pb2.Model:
    """An alias as `ListModels` shows it, by what all of its models can do."""
    states = {each.state for each in models}
    worst = max(states - {model_pb2.MODEL_STATE_READY}, default=model_pb2.MODEL_STATE_READY)
    return model_pb2.Model(
        name=name,
        is_alias=True,
        state=worst,
        context_length=min(each.context_length for each in models),
        supports_reasoning=all(each.supports_reasoning for each in models),
        supports_tools=all(each.supports_tools for each in models),
        capabilities=sorted(set.intersection(*(set(each.capabilities) for each in models))),
        image_limits=_least([each.image_limits for each in models if each.HasField("image_limits")], models),
    )


def _image_limits(limits: ImageLimits) -> model_pb2.ImageLimits:
    return model_pb2.ImageLimits(
        max_images=limits.count,
        max_bytes=limits.file_bytes,
        max_pixels=limits.pixels,
        media_types=limits.media_types,
    )


def _least(
    limits: Sequence[model_pb2.ImageLimits], models: Sequence[model_pb2.Model]
) -> model_pb2.ImageLimits | None:
    """What every one of these models takes of images; None where one takes none."""
    taken = set.intersection(*(set(each.media_types) for each in limits)) if limits else set()
    if len(limits) < len(models) or not taken:
        return None
    return model_pb2.ImageLimits(
        max_images=min(each.max_images for each in limits),
        max_bytes=min(each.max_bytes for each in limits),
        max_pixels=min(each.max_pixels for each in limits),
        media_types=sorted(taken),
    )


def replica_status(replica_id: str, served: ServedModel) -> model_pb2.ReplicaStatus:
    """How a model is doing at the replica of this process."""
    status = model_pb2.ReplicaStatus(replica_id=replica_id, state=_STATES[served.state])
    if served.engine is not None:
        status.engine_status.CopyFrom(engine_status(served.engine))
    return status


def engine_status(given: Engine) -> model_pb2.EngineStatus:
    """How a model's engine is doing."""
    status = given.status
    return model_pb2.EngineStatus(
        running_requests=status.running_requests,
        waiting_requests=status.waiting_requests,
        slots=given.slots,
        kv_cache_use=status.kv_cache_use,
        prefix_queries=status.prefix_queries,
        prefix_hits=status.prefix_hits,
        preemptions=status.preemptions,
    )


def _capabilities(card: ModelCard) -> list[model_pb2.ModelCapability.ValueType]:
    names = {capability.name for capability in card.capabilities}
    names |= {"TOOLS"} if card.supports_tools else set()
    names |= {"REASONING"} if card.supports_reasoning else set()
    return sorted(model_pb2.ModelCapability.Value(f"MODEL_CAPABILITY_{name}") for name in names)
