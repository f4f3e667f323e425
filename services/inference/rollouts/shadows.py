"""Asks a variant what callers asked, when they have been answered: nobody sees what it says.

A shadow has the run's first turn alone, with the same tools offered and none of them run, without the
cache and at nobody's expense. It is asked where its model is: here, or in another pool, which finds the
question in the store. It is asked only where the engine has slots to spare, and never waited for: what
does not fit is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial

from services.inference.beat import beating
from services.inference.calling.tool_calls import Toolbox
from services.inference.engine.port import Engine
from services.inference.models import Models
from services.inference.rollouts.aliases import Aliases
from services.inference.rollouts.book import SampleBook
from services.inference.rollouts.metrics import Part, count
from services.inference.rollouts.nobodys_run import ask
from services.inference.rollouts.questions import Question, Questions
from services.inference.rollouts.samples import Sample
from services.inference.rollouts.trial import Trial
from services.inference.rollouts.variants import Variant
from services.inference.runs.order import ChatOrder
from services.inference.runs.registry import Run
from services.rpc.call import current_call
from services.rpc.errors import ServiceError
from services.rpc.tasks import end_task

MOST_AT_ONCE = 2
MOST_LEAVING = 8
# So many times the slots that are taken, with the shadow's own, an engine must have.
SPARE = 2


class Shadows:
    """The shadows of one replica."""

    def __init__(self, models: Models, book: SampleBook, questions: Questions | None = None) -> None:
        """Ask these models.

        Args:
            models: The models of this replica.
            book: Where is noted what shadows show.
            questions: The way to other pools; None where there is none.
        """
        self._models = models
        self._book = book
        self._questions = questions
        self._asked: set[asyncio.Task[None]] = set()
        self._leaving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def casting(self, aliases: Aliases) -> AsyncIterator[None]:
        """Ask what other pools want to know of the models here; give up what is asked when the block ends."""
        try:
            async with beating(
                partial(self._ask_for_others, aliases),
                "shadows",
                waits="shadows of other pools are not asked",
                failed="shadows of other pools were not asked",
            ):
                yield
        finally:
            await asyncio.gather(*map(end_task, self._asked | self._leaving))

    def cast(self, trial: Trial, run: Run, order: ChatOrder, toolbox: Toolbox) -> None:
        """Ask the shadows of a trial what a run was asked, where there is room for them.

        Args:
            trial: What answered.
            run: The run, which is over.
            order: What was asked, before a variant changed it.
            toolbox: The platform's tools, of which none will run.
        """
        if order.raw is not None:
            return
        for variant in trial.shadows(run.run_id):
            asking = partial(_question, trial.rollout_id, variant, run.owner.tenant_id, order, toolbox)
            engine = self._models.running(variant.model)
            if engine is not None:
                if self._has_room(engine):
                    _keep(self._asked, self._make_out(engine, asking))
            elif self._questions is not None and len(self._leaving) < MOST_LEAVING:
                _keep(self._leaving, _leave(self._questions, asking))

    async def _ask_for_others(self, aliases: Aliases) -> None:
        """Ask what waits in the store for models of this replica, as far as there is room.

        Raises:
            DependencyUnavailable: The store does not answer.
        """
        if self._questions is None:
            return
        for model in aliases.shadowed():
            engine = self._models.running(model)
            while engine is not None and self._has_room(engine):
                question = await self._questions.take(model)
                if question is None:
                    break
                _keep(self._asked, self._ask(engine, question))

    def _has_room(self, engine: Engine) -> bool:
        """Whether callers come first all the same."""
        return len(self._asked) < MOST_AT_ONCE and (engine.running + 1) * SPARE <= engine.slots

    async def _make_out(self, engine: Engine, asking: Asking) -> None:
        """Make out what a shadow is asked, and ask it here."""
        with suppress(ServiceError):
            await self._ask(engine, await asking())

    async def _ask(self, engine: Engine, question: Question) -> None:
        """Ask a shadow, and note what it shows."""
        await ask(engine, question, partial(self._note, question))

    def _note(self, question: Question, sample: Sample) -> None:
        count(Part.SHADOW, sample)
        self._book.take(question.rollout_id, question.variant, sample)


Asking = Callable[[], Coroutine[None, None, Question]]
"""Makes out what is asked. Raises `ServiceError` where that cannot be told."""


def _keep(tasks: set[asyncio.Task[None]], work: Coroutine[None, None, None]) -> None:
    """Do something beside the calls, for as long as it takes."""
    task = asyncio.create_task(work, name="shadow")
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _question(
    rollout_id: str, variant: Variant, tenant_id: str, order: ChatOrder, toolbox: Toolbox
) -> Question:
    """What a variant is asked, with the tools that the current caller was offered.

    Raises:
        ToolNotOffered: One is not there any more.
    """
    offer = await toolbox.offer(order.tools)
    asked = variant.applied(replace(order, limits=replace(order.limits, max_tool_rounds=0)))
    return Question(
        rollout_id=rollout_id,
        variant=variant.name,
        tenant_id=tenant_id,
        request_id=current_call().request_id,
        order=replace(asked, conversation_id="", continues=False),
        tools=offer.tools,
    )


async def _leave(questions: Questions, asking: Asking) -> None:
    """Leave a question for another pool."""
    with suppress(ServiceError):
        await questions.leave(await asking())
