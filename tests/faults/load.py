"""Clients that use the platform all the time, and what each of their calls came to."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import grpc

from parley.auth.v1.usage_service_pb2 import QueryUsageRequest
from parley.inference.v1 import chat_pb2
from parley.inference.v1.conversation_service_pb2 import ListMessagesRequest
from parley_client.client import Client, question, user_message
from parley_client.errors import ParleyError, from_status

CALL_SECONDS = 60.0
"""A client's own deadline: a call that only this ends was left hanging."""
PATIENCE_SECONDS = 120.0
"""For how long a client asks again where that is harmless."""
PACE_SECONDS, PAUSE_SECONDS = 0.05, 0.2
"""A client's rest after a call that went well, and after a failure."""
CONVERSATION_MESSAGES = 1000
"""Written to one conversation: it holds no more than 4,096."""
RESUME_WINDOW = timedelta(seconds=60)
OK = "OK"
HUNG = "left hanging"
UNTYPED = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
SUM = '{"expression": "17 * 23"}'


@dataclass(frozen=True)
class Outcome:
    """What a client saw of one call.

    Attributes:
        kind: What it was.
        began: When, by the monotonic clock.
        ended: When it was over.
        end: OK, or how it failed: a code and a reason.
        typed: Whether the client was told what happened.
    """

    kind: str
    began: float
    ended: float
    end: str
    typed: bool


class Load:
    """A client for each kind of use, one call after the other."""

    def __init__(self, client: Client) -> None:
        """Use the platform as this client."""
        self.outcomes: list[Outcome] = []
        self.keys: set[str] = set()
        """What was acknowledged by auth."""
        self.said: list[str] = []
        """What was acknowledged by inference."""
        self.delivered = 0
        """Tokens of answers that came whole."""
        self._client = client
        self._conversations: list[str] = []
        self._written = 0
        self._numbers = itertools.count(1)
        self._news = asyncio.Condition()
        self._kinds: Mapping[str, Callable[[], Awaitable[object]]] = {
            "read": self._read,
            "write to auth": self._make_key,
            "write to inference": self._say,
            "tool": self._calculate,
            "chat": self._chat,
            "resumable chat": self._resumable,
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All clients at work, until the block's end."""
        await self._begin()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._repeat(kind)) for kind in self._kinds]
            yield
            for task in tasks:
                task.cancel()

    async def until_each_succeeds(self, times: int, *, after: float) -> None:
        """Wait until each kind of call that began after a moment went well so many times in a row."""
        async with asyncio.timeout(10 * CALL_SECONDS), self._news:
            await self._news.wait_for(lambda: all(self._row(kind, after) >= times for kind in self._kinds))

    def _row(self, kind: str, after: float) -> int:
        """How many calls of a kind went well since the last that did not."""
        ends = [each.end for each in self.outcomes if each.kind == kind and each.began >= after]
        return len(list(itertools.takewhile(lambda end: end == OK, reversed(ends))))

    async def _repeat(self, kind: str) -> None:
        while True:
            began = time.monotonic()
            end, typed = await _ended(self._kinds[kind])
            async with self._news:
                self.outcomes.append(Outcome(kind, began, time.monotonic(), end, typed))
                self._news.notify_all()
            await asyncio.sleep(PACE_SECONDS if end == OK else PAUSE_SECONDS)

    async def _read(self) -> None:
        """A read may be asked again: it must get through in the end."""

        async def ask() -> ParleyError | None:
            try:
                await self._client.list_models()
            except ParleyError as error:
                return error
            return None

        await _patiently(ask)

    async def _make_key(self) -> None:
        made = await self._client.create_key(f"load {next(self._numbers)}", scopes=["inference.models"])
        self.keys.add(made.key.key_id)

    async def _say(self) -> None:
        if self._written >= CONVERSATION_MESSAGES:
            await self._begin()
        text = f"message {next(self._numbers)}"
        await self._client.conversations.append(self._conversations[-1], [user_message(text)])
        self._written += 1
        self.said.append(text)

    async def _begin(self) -> None:
        """Write to another conversation from now on."""
        begun = await self._client.conversations.create(title="load")
        self._conversations.append(begun.conversation_id)
        self._written = 0

    async def _calculate(self) -> None:
        async with self._client.execute("calculator", SUM) as events:
            ends = [event async for event in events]
        if not ends or not ends[-1].HasField("result"):
            raise StreamBrokenOff

    async def _chat(self) -> None:
        async for _ in self._events(self._greeting()):
            pass

    async def _resumable(self) -> None:
        """What has begun goes on by itself; what has not may be asked again."""
        request = self._greeting()
        request.resume_window.FromTimedelta(RESUME_WINDOW)

        async def ask() -> ParleyError | None:
            begun = False
            try:
                async for _ in self._events(request):
                    begun = True
            except ParleyError as error:
                if begun:
                    raise
                return error
            return None

        await _patiently(ask)

    def _greeting(self) -> chat_pb2.ChatRequest:
        """Another each time, or it would be answered from the cache."""
        return question(f"Hello {next(self._numbers)}!", all_tools=False)

    async def _events(self, request: chat_pb2.ChatRequest) -> AsyncIterator[chat_pb2.ChatEvent]:
        tokens, event = 0, None
        async with self._client.chat(request) as events:
            async for event in events:
                tokens = event.usage.completion_tokens if event.HasField("usage") else tokens
                yield event
        if event is None or not event.HasField("finished"):
            raise StreamBrokenOff
        if event.finished.HasField("error"):
            raise from_status(event.finished.error)
        self.delivered += tokens

    async def recorded(self) -> int:
        """Tokens of answers that the client is charged for, so far."""
        answer = await self._client.administration.query_usage(QueryUsageRequest())
        return answer.total.completion_tokens

    async def until_recorded(self, tokens: int) -> None:
        """Wait until the client is charged for so many: records are gathered before they are written."""
        async with asyncio.timeout(CALL_SECONDS):
            while await self.recorded() < tokens:  # noqa: ASYNC110 - polls another process
                await asyncio.sleep(PAUSE_SECONDS)

    async def lost(self) -> list[str]:
        """What was acknowledged and is not there."""
        kept = {key.key_id for key in await self._client.list_keys()}
        missing = sorted(self.keys - kept)
        heard = {text for each in self._conversations for text in await self._kept(each)}
        return missing + [text for text in self.said if text not in heard]

    async def _kept(self, conversation_id: str) -> list[str]:
        """The texts of a conversation."""
        texts: list[str] = []
        page = ListMessagesRequest(conversation_id=conversation_id, page_size=100)
        while True:
            answer = await self._client.conversations.messages(page)
            texts += [part.text for each in answer.messages for part in each.message.content]
            if not answer.next_page_token:
                return texts
            page.page_token = answer.next_page_token

    async def forget(self) -> None:
        """Take back what was written."""
        await self.forget_keys()
        await self._forget_conversations(but=0)

    async def tidy(self) -> None:
        """Take back what was written so far but lately, while the clients go on: it would only grow."""
        await self.forget_keys()
        await self._begin()
        # Whoever writes now may do so to the one until now.
        await self._forget_conversations(but=2)

    async def _forget_conversations(self, *, but: int) -> None:
        """Delete those that were written to, but so many of the last."""
        while len(self._conversations) > but:
            await self._client.conversations.delete(self._conversations.pop(0))

    async def forget_keys(self) -> None:
        """Take back the keys that were made so far."""
        while self.keys:
            await self._client.revoke_key(self.keys.pop())


class StreamBrokenOff(Exception):
    """A stream was over before it said so."""


async def _patiently(ask: Callable[[], Awaitable[ParleyError | None]]) -> None:
    """Ask until it goes well; while the platform cannot be reached, and for a while."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while (trouble := await ask()) is not None:
        if trouble.code is not grpc.StatusCode.UNAVAILABLE or time.monotonic() >= give_up_at:
            raise trouble
        await asyncio.sleep(PAUSE_SECONDS)


async def _ended(call: Callable[[], Awaitable[object]]) -> tuple[str, bool]:
    """How a call ended, and whether the client was told."""
    try:
        async with asyncio.timeout(CALL_SECONDS + PATIENCE_SECONDS):
            await call()
    except ParleyError as error:
        end = f"{error.code.name} {error.reason}".strip()
        return end, error.code not in UNTYPED or bool(error.reason)
    except StreamBrokenOff:
        return "broken off", False
    except TimeoutError:
        return HUNG, False
    return OK, True
