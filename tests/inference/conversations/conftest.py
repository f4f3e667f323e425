"""Stored conversations in both databases, and callers who have some."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from parley.inference.v1 import conversation_service_pb2 as pb2
from parley.inference.v1 import message_pb2
from services.inference.conversations.library import ConversationLibrary
from services.inference.conversations.schema import migrate
from services.sql.database import Database, parse_url
from tests.conftest import TokenMaker
from tests.postgresql import new_database, sqlite_url

PERMISSIONS = ("inference.chat", "inference.conversations.*", "models.*")


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, once of each kind."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "conversations.db")
        return
    with new_database(request.getfixturevalue("postgresql")) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database with the present schema and no rows, once of each kind; it is copied."""
    if request.param == "sqlite":
        template = request.getfixturevalue("sqlite_template")
        yield sqlite_url(shutil.copy(template, tmp_path / "conversations.db"))
        return
    server, template = map(request.getfixturevalue, ("postgresql", "postgresql_template"))
    with new_database(server, template) as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the present schema."""
    path = tmp_path_factory.mktemp("template") / "conversations.db"
    asyncio.run(migrate(parse_url(sqlite_url(path))))
    return path


@pytest.fixture(scope="session")
def postgresql_template(postgresql: str) -> Iterator[str]:
    """The name of a database with the present schema."""
    with new_database(postgresql) as url:
        asyncio.run(migrate(parse_url(url)))
        yield str(make_url(url).database)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(parse_url(database_url))
    yield database
    await database.close()


@pytest.fixture
def library(database: Database) -> ConversationLibrary:
    return ConversationLibrary(database)


@pytest.fixture
def ada(tokens: TokenMaker) -> Any:
    """Call metadata of one user."""
    return tokens.metadata(*PERMISSIONS)


@pytest.fixture(params=["another user", "the same name in another tenant"])
def stranger(request: pytest.FixtureRequest, tokens: TokenMaker) -> Any:
    """Call metadata of somebody who must see nothing of hers."""
    changes = {"user_id": "user-2"} if request.param == "another user" else {"tenant_id": "tenant-2"}
    return tokens.metadata(*PERMISSIONS, **changes)


def user(text: str) -> message_pb2.Message:
    return message_pb2.Message(role=message_pb2.ROLE_USER, content=[message_pb2.ContentPart(text=text)])


def assistant(text: str) -> message_pb2.Message:
    return message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, content=[message_pb2.ContentPart(text=text)])


async def make(stub: Any, metadata: Any, *messages: message_pb2.Message, title: str = "") -> Any:
    """A new conversation."""
    request = pb2.CreateConversationRequest(title=title, messages=messages)
    return (await stub.CreateConversation(request, metadata=metadata)).conversation


async def texts(stub: Any, metadata: Any, conversation_id: str) -> list[str]:
    """What is said in a conversation, each message as one text."""
    request = pb2.ListMessagesRequest(conversation_id=conversation_id, page_size=1000)
    answer = await stub.ListMessages(request, metadata=metadata)
    return ["".join(part.text for part in each.message.content) for each in answer.messages]


async def export(stub: Any, metadata: Any, **fields: Any) -> tuple[str, str]:
    """The type and the content of an export."""
    pieces = [
        each
        async for each in stub.ExportConversations(
            pb2.ExportConversationsRequest(**fields), metadata=metadata
        )
    ]
    return pieces[0].content_type, b"".join(each.data for each in pieces).decode()


async def gather(*calls: Any) -> list[Any]:
    """Answers or errors of calls made at once."""
    return await asyncio.gather(*calls, return_exceptions=True)
