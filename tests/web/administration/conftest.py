"""The rooms of the administration without a browser, in front of scripted services."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import grpc
import pytest

from parley.auth.v1 import session_service_pb2_grpc
from parley.inference.v1 import rollout_service_pb2_grpc
from parley_client.client import Client
from tests.web.administration_data import tenant
from tests.web.scripted_auth import ScriptedAuth, ulid
from tests.web.scripted_rollouts import ScriptedRollouts
from tests.web.scripted_status import add_status
from tests.web.test_markup import Reader
from web.administration.fields import Fields
from web.administration.room import Room
from web.administration.visitor import Visitor

Visit = Callable[..., Visitor]


class Sessions(session_service_pb2_grpc.SessionServiceServicer):
    """Ends sessions, and nothing else."""

    def __init__(self, auth: ScriptedAuth) -> None:
        self.EndSessions = auth.EndSessions  # type: ignore[method-assign]


@pytest.fixture
def auth() -> ScriptedAuth:
    return tenant()


@pytest.fixture
async def visit(auth: ScriptedAuth) -> AsyncIterator[Visit]:
    """Makes a visitor with these permissions."""
    server = grpc.aio.server()
    auth.add_to(server)
    add_status(auth, server)
    rollout_service_pb2_grpc.add_RolloutServiceServicer_to_server(ScriptedRollouts(auth), server)
    session_service_pb2_grpc.add_SessionServiceServicer_to_server(Sessions(auth), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        client = Client(channel)
        yield lambda *permissions: Visitor(client, ulid(1), ulid(9000), permissions)
    await server.stop(0)


async def text(room: Room, action: str = "", **fields: str | list[str]) -> str:
    """What a room says after an action, or when it is entered, with single spaces."""
    return " ".join(Reader((await html(room, action, **fields)).replace("<", " <")).text.split())


async def html(room: Room, action: str = "", **fields: str | list[str]) -> str:
    """A room's HTML after an action, or when it is entered."""
    if not action:
        return await room.enter()
    sent = {name: value if isinstance(value, list) else [value] for name, value in fields.items()}
    return await room.act(action, Fields(sent))
