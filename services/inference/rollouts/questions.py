"""What shadows are asked, and how it reaches the pool that has a shadow's model: through the store.

A list for each model holds the newest questions alone, and for a short time: whoever has room takes the
oldest of them, and what nobody took is gone. What is read was written by another replica, perhaps of
another release: it is held against the types, and passed over where it does not fit.
"""

from __future__ import annotations

from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError
from redis.asyncio import Redis

from services.inference.asking_store import asking_store
from services.inference.calling.catalogue import ServerTool
from services.inference.runs.order import ChatOrder
from services.ledger.ledger import awaited

QUESTIONS = "parley:inference:shadows:"
MOST_WAITING = 8
WAIT_SECONDS = 30
MAX_BYTES = 2**20

_log = structlog.get_logger("parley.inference")


class Question(BaseModel):
    """What one variant is asked in the shadow of a run.

    Attributes:
        rollout_id: Its rollout.
        variant: Its name.
        tenant_id: Whose rollout it is.
        request_id: Names the call that was answered.
        order: What it is asked.
        tools: What it is told that it may call; none of them runs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")

    rollout_id: str
    variant: str
    tenant_id: str
    request_id: str
    order: ChatOrder
    tools: tuple[ServerTool, ...] = ()


class Questions:
    """Questions on their way, in a Redis-protocol store."""

    def __init__(self, store: Redis) -> None:
        """Use this store."""
        self._store = store

    async def leave(self, question: Question) -> None:
        """Leave a question for whoever has its model; one that is too long is left out.

        Raises:
            DependencyUnavailable: The store does not answer.
        """
        body = question.model_dump_json().encode()
        if len(body) > MAX_BYTES:
            return
        place = QUESTIONS + question.order.model
        async with self._store.pipeline(transaction=True) as pipeline:
            pipeline.rpush(place, body)
            pipeline.ltrim(place, -MOST_WAITING, -1)
            pipeline.expire(place, WAIT_SECONDS)
            async with asking_store():
                await pipeline.execute()

    async def take(self, model: str) -> Question | None:
        """The question that waits longest for a model; None where none does.

        Raises:
            DependencyUnavailable: The store does not answer.
        """
        while (body := await self._oldest(model)) is not None:
            try:
                question = Question.model_validate_json(body)
            except ValidationError:
                _log.warning("a shadow's question was not understood", model=model)
                continue
            if question.order.model == model:
                return question
        return None

    async def _oldest(self, model: str) -> Any:
        async with asking_store():
            return await awaited(self._store.lpop(QUESTIONS + model))
