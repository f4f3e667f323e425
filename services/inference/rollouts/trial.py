"""A variant in one chat: what it changes of it, and what is learnt from it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from services.inference.rollouts.book import SampleBook
from services.inference.rollouts.counts import CountedRun
from services.inference.rollouts.metrics import Part, count
from services.inference.rollouts.samples import FAILED, Sample, sample_of, sampled
from services.inference.rollouts.variants import Assignment, Variant
from services.inference.runs.events import RunEvent, Started
from services.inference.runs.order import ChatOrder
from services.inference.runs.registry import Run
from services.rpc.errors import ServiceError


class Trial:
    """A variant that answers a run."""

    def __init__(self, assignment: Assignment, book: SampleBook) -> None:
        """Answer by this variant, and note here what comes of it."""
        self._alias, self._variant = assignment.alias, assignment.variant
        self._book = book
        part = Part.STABLE if self._variant.name == self._alias.stable else Part.CANDIDATE
        self._take = partial(self._note, self._variant.name, part)
        if assignment.missed:
            self._note(assignment.missed, Part.CANDIDATE, FAILED)

    @property
    def variant(self) -> str:
        """The variant's name."""
        return self._variant.name

    @property
    def model(self) -> str:
        """The model that answers."""
        return self._variant.model

    @property
    def rollout_id(self) -> str:
        """The rollout."""
        return self._alias.rollout_id

    def shadows(self, run_id: str) -> list[Variant]:
        """The variants that are asked too what a run was asked."""
        return self._alias.shadows(run_id)

    def applied(self, order: ChatOrder) -> ChatOrder:
        """The order as the variant answers it."""
        return self._variant.applied(order)

    def refused(self, error: ServiceError) -> None:
        """Note that the run could not begin."""
        if (sample := sample_of(error)) is not None:
            self._take(sample)

    async def observed(
        self, run: Run, events: AsyncGenerator[RunEvent, None]
    ) -> AsyncGenerator[RunEvent, None]:
        """The same events, of which the first says which variant answers; what they show is noted."""
        async with aclosing(sampled(events, self._take)) as seen:
            async for event in seen:
                if isinstance(event, Started):
                    self._book.began(self._counted(run))
                    event = replace(event, alias=self._alias.name, variant=self._variant.name)
                yield event

    def _note(self, variant: str, part: Part, sample: Sample) -> None:
        """Note what a run of a variant shows."""
        count(part, sample)
        self._book.take(self._alias.rollout_id, variant, sample)

    def _counted(self, run: Run) -> CountedRun:
        owner = run.owner
        return CountedRun(
            run.run_id, owner.tenant_id, owner.user_id, self._alias.rollout_id, self._variant.name
        )
