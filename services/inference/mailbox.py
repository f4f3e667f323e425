"""Letters between replicas: who has a run is asked of all, and whoever has it acts and answers.

A letter goes out on one channel that every replica listens to; the answers
come back in a list of the letter's own. The number of listeners is known from
the publication, so a run that nobody has is known as soon as all have answered,
and at the latest after `ANSWER_SECONDS`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Protocol

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from services.inference.events import FinishReason
from services.inference.runs import Owner, RunRegistry
from services.rpc.errors import DependencyUnavailable
from services.rpc.tasks import end_task

CHANNEL = "parley:inference:letters"
ANSWERS = "parley:inference:answers:"
ANSWER_SECONDS = 1.0
ANSWER_LIFE_SECONDS = 10
STORE_SECONDS = 2.0
RECONNECT_SECONDS = (0.1, 5.0)
MAX_LETTER_BYTES = 4096

HAS_IT = b"1"
HAS_IT_NOT = b"0"


class Mailbox(Protocol):
    """Reaches runs of other replicas."""

    async def cancel(self, run_id: str, owner: Owner) -> bool:
        """End a run of this owner, wherever it runs.

        Returns:
            False where no replica has it.

        Raises:
            DependencyUnavailable: The replicas cannot be asked.
        """
        ...


@dataclass(frozen=True, slots=True)
class Letter:
    """What a replica is asked to do."""

    kind: str
    run_id: str
    tenant_id: str
    user_id: str
    answer_to: str

    def encode(self) -> bytes:
        """The letter as it travels."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, body: bytes) -> Letter:
        """Read a letter.

        Raises:
            ValueError: It is none, or too long.
        """
        if len(body) > MAX_LETTER_BYTES:
            raise ValueError("the letter is too long")
        try:
            letter = cls(**json.loads(body))
        except TypeError:
            raise ValueError("the letter lacks a field, or has one too many") from None
        if not str(letter.answer_to).startswith(ANSWERS):
            raise ValueError("the letter asks for its answer in another's place")
        return letter


Handler = Callable[[Letter], bool]


class StoreMailbox:
    """A mailbox in a Redis-protocol store."""

    def __init__(self, store: Redis, handle: Handler, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        """Use this store.

        Args:
            store: The store.
            handle: Does what a letter says; False where this replica cannot.
            answer_seconds: How long the replicas have to answer.
        """
        self._store = store
        self._handle = handle
        self._answer_seconds = answer_seconds
        self._listening = asyncio.Event()
        self._deaf = asyncio.Event()
        self._log = structlog.get_logger("parley.inference")

    async def cancel(self, run_id: str, owner: Owner) -> bool:
        """See `Mailbox.cancel`."""
        answer_to = ANSWERS + secrets.token_hex(16)
        letter = Letter("cancel", run_id, owner.tenant_id, owner.user_id, answer_to)
        try:
            async with asyncio.timeout(STORE_SECONDS + self._answer_seconds):
                replicas = await self._store.publish(CHANNEL, letter.encode())
                return await self._answered(answer_to, int(replicas))
        except (RedisError, OSError, TimeoutError) as error:
            self._log.warning("store does not answer", error=type(error).__name__)
            raise DependencyUnavailable("store") from error

    async def _answered(self, answer_to: str, replicas: int) -> bool:
        """Whether one of the replicas says that it did it."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._answer_seconds
        for _ in range(replicas):
            left = give_up - loop.time()
            if left <= 0:
                break
            answer = await self._store.blpop([answer_to], timeout=left)
            if answer is None or answer[1] == HAS_IT:
                return answer is not None
        return False

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Take letters until the block's end, through any trouble of the store."""
        task = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            await end_task(task)
            with suppress(asyncio.CancelledError):
                task.result()

    async def wait_until_listening(self) -> None:
        """Return once letters reach this replica."""
        await self._listening.wait()

    async def wait_until_deaf(self) -> None:
        """Return once letters do not reach this replica, because the store is away."""
        await self._deaf.wait()

    def _hear(self, *, hears: bool) -> None:
        change, undo = (self._listening, self._deaf) if hears else (self._deaf, self._listening)
        undo.clear()
        change.set()

    async def _listen(self) -> None:
        pause, longest = RECONNECT_SECONDS
        while True:
            try:
                async with self._store.pubsub() as letters:
                    await letters.subscribe(CHANNEL)
                    pause = RECONNECT_SECONDS[0]
                    await self._take(letters)
            except (RedisError, OSError) as error:
                self._log.warning("mailbox lost the store", error=type(error).__name__, retry_seconds=pause)
            self._hear(hears=False)
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)

    async def _take(self, letters: PubSub) -> None:
        """Act on each letter as it comes."""
        async for parcel in letters.listen():
            if parcel["type"] == "subscribe":
                self._hear(hears=True)
            elif parcel["type"] == "message":
                await self._act(parcel["data"])

    async def _act(self, body: bytes) -> None:
        try:
            letter = Letter.decode(body)
        except ValueError:
            self._log.warning("letter not understood")
            return
        answer = HAS_IT if self._handle(letter) else HAS_IT_NOT
        async with self._store.pipeline(transaction=True) as pipeline:
            pipeline.rpush(letter.answer_to, answer)
            pipeline.expire(letter.answer_to, ANSWER_LIFE_SECONDS)
            await pipeline.execute()


def letter_handler(runs: RunRegistry) -> Handler:
    """Does what letters say to the runs of this process."""

    def handle(letter: Letter) -> bool:
        owner = Owner(letter.tenant_id, letter.user_id)
        return letter.kind == "cancel" and runs.end(letter.run_id, owner, FinishReason.CANCELLED)

    return handle
