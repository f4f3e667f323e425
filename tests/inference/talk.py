"""A client's side of a conversation on one stream."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from parley.inference.v1 import chat_pb2, converse_pb2
from services.rpc.errors import error_info
from tests.inference.test_servicer import refusal


class Talk:
    """A client's side of a conversation."""

    def __init__(self, stub: Any, metadata: Any, **options: Any) -> None:
        self.call = stub.Converse(metadata=metadata, **options)

    async def send(self, **said: Any) -> None:
        await self.call.write(converse_pb2.ConverseRequest(**said))

    async def set_up(self, **fields: Any) -> None:
        fields.setdefault("server_tools", {"all": True})
        await self.send(setup=fields)

    async def say(self, *texts: str) -> None:
        for text in texts:
            await self.send(user_turn={"content": [{"text": text}]})

    async def next(self) -> Any:
        """The next response; EOF at a good end."""
        return await asyncio.wait_for(self.call.read(), 20)

    async def until(self, kind: str) -> chat_pb2.ChatEvent:
        """Read up to the first event of a kind."""
        while True:
            response = await self.next()
            assert response is not grpc.aio.EOF
            if response.event.WhichOneof("event") == kind:
                return response.event

    async def finish(self) -> str:
        """Read to the end of a run; gives its reason."""
        finished = (await self.until("finished")).finished
        return chat_pb2.FinishReason.Name(finished.reason).removeprefix("FINISH_REASON_")

    async def refused(self) -> tuple[int, str]:
        """The next response, which refuses a message: its number and the reason."""
        response = await self.next()
        info = error_info(response.refusal)
        assert info is not None
        return response.message_number, info.reason

    async def hang_up(self) -> Any:
        """Half-close; gives what comes next."""
        await self.call.done_writing()
        return await self.next()

    async def failure(self) -> str:
        """Read on to the stream's bad end; gives its reason."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.rest()
        return refusal(caught.value)[0]

    async def rest(self) -> None:
        """Read on for as long as there is something."""
        while await self.next() is not grpc.aio.EOF:
            pass
