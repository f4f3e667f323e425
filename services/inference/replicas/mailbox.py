"""Letters between replicas: who has a run is asked of all, and whoever has it acts and answers.

A letter goes out on one channel that every replica listens to; the answers
come back in a list of the letter's own. The number of listeners is known from
the publication, so a run that nobody has is known as soon as all have answered,
and at the latest after `ANSWER_SECONDS`. What may be large, or nobody else's
business, lies in the store under a key of the letter's own: only the replica
that has the run reads it.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Protocol

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from services.inference.calling.waiting_calls import Answer, ClientResult, Decision, Delivery, Outcome
from services.inference.runs.events import FinishReason
from services.inference.runs.registry import Owner, RunRegistry
from services.rpc.errors import DependencyUnavailable
from services.rpc.tasks import end_task

CHANNEL = "parley:inference:letters"
ANSWERS = "parley:inference:answers:"
ENCLOSURES = "parley:inference:enclosures:"
ANSWER_SECONDS = 1.0
ANSWER_LIFE_SECONDS = 10
STORE_SECONDS = 2.0
RECONNECT_SECONDS = (0.1, 5.0)
MAX_LETTER_BYTES = 4096
# The largest result of a client's tool, 1 MiB, with every byte spelled as JSON spells control characters.
MAX_ENCLOSURE_BYTES = 7 * 2**20

CANCEL = "cancel"
ANSWER = "answer"
ATTEND = "attend"


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

    async def answer(
        self, run_id: str, owner: Owner, call_id: str, answer: Answer, granted: Collection[str]
    ) -> Delivery:
        """Answer a call that a run of this owner waits for; see `RunRegistry.answer`.

        Raises:
            DependencyUnavailable: The replicas cannot be asked.
        """
        ...

    async def attend(self, run_id: str, owner: Owner) -> bool:
        """Tell a run of this owner that it is read here; see `RunRegistry.attend`.

        Returns:
            False where no replica has it.

        Raises:
            DependencyUnavailable: The replicas cannot be asked.
        """
        ...


@dataclass(frozen=True, slots=True)
class Letter:
    """What a replica is asked to do.

    Attributes:
        kind: `CANCEL`, `ANSWER` or `ATTEND`.
        run_id: The run.
        tenant_id: Its owner's.
        user_id: Its owner.
        answer_to: The list that takes the answer.
        enclosure: The key of what comes with the letter; empty for nothing.
    """

    kind: str
    run_id: str
    tenant_id: str
    user_id: str
    answer_to: str
    enclosure: str = ""

    @property
    def owner(self) -> Owner:
        """Whose run it is."""
        return Owner(self.tenant_id, self.user_id)

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
        if letter.enclosure and not str(letter.enclosure).startswith(ENCLOSURES):
            raise ValueError("the letter's enclosure lies in another's place")
        return letter


@dataclass(frozen=True, slots=True)
class Enclosure:
    """An answer to a call, as it lies in the store.

    Attributes:
        call_id: The call.
        answer: The answer.
        granted: What whoever answers may do.
    """

    call_id: str
    answer: Answer
    granted: frozenset[str]

    def encode(self) -> bytes:
        """The enclosure as it lies there."""
        kind = type(self.answer).__name__
        parts = {"call_id": self.call_id, "kind": kind, "granted": sorted(self.granted)}
        return json.dumps({**parts, "answer": asdict(self.answer)}, ensure_ascii=False).encode()

    @classmethod
    def decode(cls, body: bytes) -> Enclosure:
        """Read an enclosure.

        Raises:
            ValueError: It is none.
        """
        try:
            parts = json.loads(body)
            kind = {"Decision": Decision, "ClientResult": ClientResult}[parts["kind"]]
            return cls(parts["call_id"], kind(**parts["answer"]), frozenset(parts["granted"]))
        except (KeyError, TypeError):
            raise ValueError("the enclosure is none") from None


class StoreMailbox:
    """A mailbox in a Redis-protocol store."""

    def __init__(self, store: Redis, runs: RunRegistry, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        """Use this store.

        Args:
            store: The store.
            runs: The runs of this replica, to which letters speak.
            answer_seconds: How long the replicas have to answer.
        """
        self._store = store
        self._runs = runs
        self._answer_seconds = answer_seconds
        self._listening = asyncio.Event()
        self._deaf = asyncio.Event()
        self._log = structlog.get_logger("parley.inference")

    async def cancel(self, run_id: str, owner: Owner) -> bool:
        """See `Mailbox.cancel`."""
        return (await self._send(CANCEL, run_id, owner)).outcome is Outcome.TAKEN

    async def answer(
        self, run_id: str, owner: Owner, call_id: str, answer: Answer, granted: Collection[str]
    ) -> Delivery:
        """See `Mailbox.answer`."""
        return await self._send(ANSWER, run_id, owner, Enclosure(call_id, answer, frozenset(granted)))

    async def attend(self, run_id: str, owner: Owner) -> bool:
        """See `Mailbox.attend`."""
        return (await self._send(ATTEND, run_id, owner)).outcome is Outcome.TAKEN

    async def _send(
        self, kind: str, run_id: str, owner: Owner, enclosure: Enclosure | None = None
    ) -> Delivery:
        """Ask all replicas; gives what the one that has the run says.

        Raises:
            DependencyUnavailable: They cannot be asked.
        """
        name = secrets.token_hex(16)
        place = ENCLOSURES + name if enclosure is not None else ""
        letter = Letter(kind, run_id, owner.tenant_id, owner.user_id, ANSWERS + name, place)
        try:
            async with asyncio.timeout(STORE_SECONDS + self._answer_seconds):
                if enclosure is not None:
                    await self._store.set(place, enclosure.encode(), ex=ANSWER_LIFE_SECONDS)
                replicas = await self._store.publish(CHANNEL, letter.encode())
                return await self._answered(letter.answer_to, int(replicas))
        except (RedisError, OSError, TimeoutError) as error:
            self._log.warning("store does not answer", error=type(error).__name__)
            raise DependencyUnavailable("store") from error

    async def _answered(self, answer_to: str, replicas: int) -> Delivery:
        """What the replica says that has the run."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._answer_seconds
        for _ in range(replicas):
            left = give_up - loop.time()
            if left <= 0:
                break
            answer = await self._store.blpop([answer_to], timeout=left)
            if answer is None:
                break
            delivery = _delivery(answer[1])
            if delivery.outcome is not Outcome.NO_RUN:
                return delivery
        return Delivery(Outcome.NO_RUN)

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
            delivery = await self._do(letter)
        except ValueError:
            self._log.warning("letter not understood")
            return
        async with self._store.pipeline(transaction=True) as pipeline:
            pipeline.rpush(letter.answer_to, delivery.outcome.value + delivery.permission)
            pipeline.expire(letter.answer_to, ANSWER_LIFE_SECONDS)
            await pipeline.execute()

    async def _do(self, letter: Letter) -> Delivery:
        """Do what a letter says to a run of this process.

        Raises:
            ValueError: The letter makes no sense, or lacks its enclosure.
        """
        if not self._runs.has(letter.run_id, letter.owner):
            return Delivery(Outcome.NO_RUN)
        if letter.kind == CANCEL:
            self._runs.end(letter.run_id, letter.owner, FinishReason.CANCELLED)
            return Delivery(Outcome.TAKEN)
        if letter.kind == ATTEND:
            attended = self._runs.attend(letter.run_id, letter.owner)
            return Delivery(Outcome.TAKEN if attended else Outcome.NO_RUN)
        if letter.kind != ANSWER:
            raise ValueError("a letter of this kind is not known")
        body = await self._store.getdel(letter.enclosure)
        if not isinstance(body, bytes) or len(body) > MAX_ENCLOSURE_BYTES:
            raise ValueError("the enclosure is missing, or too long")
        enclosed = Enclosure.decode(body)
        return self._runs.answer(
            letter.run_id, letter.owner, enclosed.call_id, enclosed.answer, enclosed.granted
        )


def _delivery(answer: bytes | str) -> Delivery:
    """What a replica answered."""
    text = answer.decode() if isinstance(answer, bytes) else answer
    return Delivery(Outcome(text[:1]), text[1:])
