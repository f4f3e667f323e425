"""Calls through the edge, as gRPC and as JSON."""

from __future__ import annotations

import pytest

from parley.inference.v1 import inference_service_pb2
from parley.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from tests.conftest import TokenMaker
from tests.edge.conftest import Mesh
from tests.edge.front import Front
from tests.edge.toys import chat_request, everything

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


async def test_grpc_stream(edge: Front, tokens: TokenMaker) -> None:
    async with edge.channel() as channel:
        stub = InferenceServiceStub(channel)
        answers = await everything(
            stub.Chat(chat_request("a b c"), metadata=tokens.metadata("*"), timeout=10)
        )
    assert [answer.event.content_delta.text for answer in answers[1:-1]] == ["a", "b", "c"]
