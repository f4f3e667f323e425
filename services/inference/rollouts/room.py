"""All that a replica does about rollouts, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from services.inference.models import Models
from services.inference.replicas.directory import ModelDirectory
from services.inference.rollouts.aliases import Aliases
from services.inference.rollouts.book import SampleBook
from services.inference.rollouts.counts import Counts
from services.inference.rollouts.library import RolloutLibrary
from services.inference.rollouts.questions import Questions
from services.inference.rollouts.servicer import RolloutServicer
from services.inference.rollouts.shadows import Shadows
from services.inference.rollouts.trial import Trial
from services.inference.rollouts.watch import GuardrailWatch
from services.rpc.audit import AuditSink
from services.rpc.pages import PageTokens
from services.rpc.principal import Principal


@dataclass(frozen=True, slots=True)
class Rollouts:
    """What chats need of rollouts.

    Attributes:
        aliases: What else than models can be asked for.
        book: Where is noted what comes of it.
        shadows: What is asked beside chats.
    """

    aliases: Aliases
    book: SampleBook
    shadows: Shadows

    @classmethod
    def none(cls, models: Models) -> Rollouts:
        """Where there are no aliases."""
        book = SampleBook()
        return cls(Aliases(models, models.has), book, Shadows(models, book))

    def model(self, name: str, caller: Principal) -> str:
        """The model that answers a caller who names a model or an alias; see `Aliases.assigned`."""
        assignment = self.aliases.assigned(name, caller)
        return name if assignment is None else assignment.variant.model

    def trial(self, name: str, caller: Principal) -> Trial | None:
        """What a caller's chat is tried on; None where the name is no alias. See `Aliases.assigned`."""
        assignment = self.aliases.assigned(name, caller)
        return None if assignment is None else Trial(assignment, self.book)


@asynccontextmanager
async def open_rollouts(
    library: RolloutLibrary | None,
    models: Models,
    directory: ModelDirectory,
    pages: PageTokens,
    store: Redis,
    audit: AuditSink | None,
) -> AsyncIterator[tuple[Rollouts, RolloutServicer]]:
    """What chats and callers need of rollouts, kept up and watched until the block's end.

    Args:
        library: Keeps them; None where the deployment has no database, and so no rollouts.
        models: The models of this replica.
        directory: The models of all pools.
        pages: Makes and reads page tokens.
        store: Where samples are counted, and where questions reach other pools.
        audit: Told of rollbacks that nobody asked for.
    """
    book = SampleBook()
    shadows = Shadows(models, book, Questions(store))
    rollouts = Rollouts(Aliases(models, directory.can_chat), book, shadows)
    directory.aliases = rollouts.aliases.of
    counts = Counts(store)
    servicer = RolloutServicer(library, rollouts.aliases, directory, pages, counts)
    async with AsyncExitStack() as stack:
        if library is not None:
            await stack.enter_async_context(rollouts.aliases.keeping(library))
            await stack.enter_async_context(rollouts.book.keeping(counts))
            watch = GuardrailWatch(library, rollouts.aliases, counts, audit)
            await stack.enter_async_context(watch.watching())
            await stack.enter_async_context(rollouts.shadows.casting(rollouts.aliases))
        yield rollouts, servicer
