"""An engine that ignores the end of text, and a replica around it as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from joserfc.jwk import KeySet

from parley.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from services.inference.calling.run_tokens import OwnTokens
from services.inference.conversations.continuing import Continuing
from services.inference.conversations.library import ConversationLibrary
from services.inference.converse_stream import ConverseStream
from services.inference.embedding import Embedding
from services.inference.engine.model_card import ModelCard
from services.inference.engine.port import Prompt, no_ceiling
from services.inference.engine.turn import Turn
from services.inference.models import Models
from services.inference.reading.step import ContentDelta, Step, StopReason, TurnEnd, TurnUsage
from services.inference.replicas.directory import ModelDirectory
from services.inference.replicas.mailbox import StoreMailbox
from services.inference.resumption.journal import Journal
from services.inference.resumption.resumption import Resumption
from services.inference.runs.answering import Answering
from services.inference.runs.registry import RunRegistry
from services.inference.seating.seats import Door, Seats
from services.inference.servicer import InferenceServicer
from services.ledger.admission import Admission
from services.ledger.lease import LeaseLife
from services.ledger.ledger import Ledger, open_store
from services.ledger.limits import Account, Dimension, Payer, Rule, Terms
from services.rpc.pages import PageTokens
from services.rpc.revocations import Revocations
from services.rpc.server import RpcServer, run
from services.rpc.tls import TlsFiles
from services.rpc.verifier import JwksVerifier
from services.sql.database import Database, parse_url
from tests.conftest import AUDIENCE, ISSUER
from tests.inference.scripted import NoLimits, ScriptedToolbox

SLICE, LEASE_SECONDS = 8, 2.0
LIFE = LeaseLife(slice_tokens=SLICE, seconds=LEASE_SECONDS)
ENVIRONMENT = "PARLEY_TEST_REPLICA"


def terms(account: str, **values: int) -> Terms:
    rules = {Dimension(name): Rule(value, "user/ada") for name, value in values.items()}
    return Terms((Account(account, rules),))


class EndlessEngine:
    """Says a word per token until it is stopped, or stalls. A prompt costs ten tokens a message."""

    def __init__(self, stalls_after: int = 10**9) -> None:
        self.card = ModelCard("scripted", context_length=1_000_000)
        self.running = 0
        self.slots = 1000
        self.most_beyond = 0
        self._stalls_after = stalls_after

    async def render(self, turn: Turn) -> Prompt:
        return Prompt(10 * len(turn.messages))

    async def generate(
        self,
        prompt: Prompt,
        *,
        max_output_tokens: int,
        request_id: str,
        ceiling: Callable[[], int | None] = no_ceiling,
        said: Sequence[int] = (),
    ) -> AsyncGenerator[Step, None]:
        self.running += 1
        try:
            if said:
                again = "word " * len(said)
                yield Step(
                    (ContentDelta(again),),
                    TurnUsage(prompt.tokens, len(said)),
                    choice_tokens=len(said),
                    token_ids=tuple(said),
                )
            for spent in range(len(said) + 1, max_output_tokens + 1):
                if spent > self._stalls_after:
                    await asyncio.Event().wait()
                await asyncio.sleep(0)
                self.most_beyond = max(self.most_beyond, spent - (ceiling() or spent))
                usage = TurnUsage(prompt.tokens, spent)
                yield Step((ContentDelta("word "),), usage, choice_tokens=spent, token_ids=(spent,))
            usage = TurnUsage(prompt.tokens, max_output_tokens)
            yield Step((), usage, TurnEnd(StopReason.LENGTH))
        finally:
            self.running -= 1

    async def failed(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        pass


@dataclass(frozen=True)
class ReplicaOrder:
    """What a replica process is told.

    Attributes:
        port: Where it listens.
        identity: Its three TLS files.
        keys: The public keys of its callers' tokens.
        store_url: Its ledger's store.
        account: The account that its callers are counted in.
        limits: Their limits, by dimension.
        stalls_after: Tokens after which its engine says nothing more.
        database: Where its conversations are; empty for none.
    """

    port: int
    identity: list[str]
    keys: dict[str, object]
    store_url: str
    account: str
    limits: dict[str, int]
    stalls_after: int
    database: str = ""

    def environment(self) -> dict[str, str]:
        return {**os.environ, ENVIRONMENT: json.dumps(self.__dict__)}


class FixedLimits(NoLimits):
    """The same for every caller."""

    async def terms(self, payer: Payer) -> Terms:
        return self.held_to


async def serve() -> None:
    """Serve the endless engine until killed."""
    from tests.inference.replicas import settings_for

    order = ReplicaOrder(**json.loads(os.environ[ENVIRONMENT]))

    async def keys() -> KeySet:
        return KeySet.import_key_set(order.keys)  # type: ignore[arg-type]

    settings = settings_for(TlsFiles(*map(Path, order.identity)), listen_address=f"127.0.0.1:{order.port}")
    server = RpcServer(settings, JwksVerifier(keys, issuer=ISSUER, audience=AUDIENCE))
    models, runs = Models("scripted"), RunRegistry()
    models.ready("scripted", EndlessEngine(order.stalls_after))
    library = ConversationLibrary(Database(parse_url(order.database))) if order.database else None
    async with open_store(order.store_url) as store:
        limits = FixedLimits(terms(order.account, **order.limits))
        admission = Admission(Ledger(store), limits, service="inference.parley", life=LIFE)
        async with admission.keeping():
            mailbox = StoreMailbox(store, runs)
            answering = Answering(
                models,
                runs,
                ScriptedToolbox(),
                admission,
                OwnTokens(),
                Continuing(library),
                Door(Seats(1000, max_waiting=0), {}),
            )
            resumption = Resumption(
                answering, Journal(store), mailbox, Revocations(synchronized=True), server.stopping
            )
            converse = partial(ConverseStream, answering, server.stopping)
            servicer = InferenceServicer(
                answering,
                resumption,
                converse,
                models,
                ModelDirectory(models),
                runs,
                mailbox,
                PageTokens(),
                Embedding(models, admission),
            )
            server.add(add_InferenceServiceServicer_to_server, servicer)
            async with resumption.keeping(), mailbox.listening():
                await server.start()
                await server.set_serving(True)
                await server.serve_until_stopped()


if __name__ == "__main__":
    run(serve)
