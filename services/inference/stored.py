"""What the service keeps in a database, where the deployment names one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from pydantic import SecretStr

from services.inference.conversations import schema as conversations_schema
from services.inference.conversations.library import ConversationLibrary
from services.inference.preflight import StartError
from services.inference.rollouts import schema as rollouts_schema
from services.inference.rollouts.library import RolloutLibrary
from services.sql.database import Database, parse_url
from services.sql.schema import SchemaError


class Stored(NamedTuple):
    """Conversations and rollouts; None without a database."""

    conversations: ConversationLibrary | None = None
    rollouts: RolloutLibrary | None = None


@asynccontextmanager
async def stored(database_url: SecretStr) -> AsyncIterator[Stored]:
    """What is kept at a URL, with the schemas that this program knows, until the block's end.

    Raises:
        StartError: The database cannot be used.
    """
    if not database_url.get_secret_value():
        yield Stored()
        return
    url = parse_url(database_url.get_secret_value())
    try:
        await conversations_schema.migrate(url)
        await rollouts_schema.migrate(url)
    except SchemaError as error:
        raise StartError(str(error)) from error
    database = Database(url)
    try:
        yield Stored(ConversationLibrary(database), RolloutLibrary(database))
    finally:
        await database.close()
