"""What the audit is told of calls of every shape, and how events wait for those who write them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
import pytest

from parley.auth.v1 import audit_pb2
from services.rpc.audit import AuditQueue, delivering, stamped
from services.rpc.channel import open_channel
from services.rpc.errors import AuditFull, DependencyUnavailable
from services.rpc.server import RpcServer
from services.rpc.settings import ServiceSettings
from services.rpc.tls import TlsFiles
from tests.rpc.conftest import SHAPES, ToyMesh, ToyServicer

STARTED, ENDED = audit_pb2.AUDIT_STAGE_STARTED, audit_pb2.AUDIT_STAGE_ENDED
ALLOWED, REFUSED = audit_pb2.AUDIT_DECISION_ALLOWED, audit_pb2.AUDIT_DECISION_REFUSED
STREAMS = ("ServerStream", "BidiStream")


class Sink:
    """Keeps what it is told; may be full."""

    def __init__(self) -> None:
        self.events: list[audit_pb2.AuditEvent] = []
        self.full = False

    def admit(self) -> None:
        if self.full:
            raise AuditFull

    def record(self, event: audit_pb2.AuditEvent) -> None:
        self.events.append(event)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def content() -> str:
    """What the settings say is kept of requests; by themselves they say this."""
    return "digest"


@pytest.fixture
async def audited(
    toy: Any,
    settings: ServiceSettings,
    tokens: Any,
    identity: Callable[[str], TlsFiles],
    sink: Sink,
    content: str,
) -> AsyncIterator[ToyMesh]:
    servicer = ToyServicer(toy)
    assert settings.audit_content == "digest"
    told = settings.model_copy(update={"audit_content": content})
    server = RpcServer(told, tokens.verifier(), audit=sink)
    server.add(toy.add_ToyServiceServicer_to_server, servicer)
    port = await server.start()

    def connect(peer: str, tls: TlsFiles | None = None) -> Any:
        return open_channel(
            f"127.0.0.1:{port}", tls=tls or identity(peer), service="toy", trust_domain="parley.local"
        )

    yield ToyMesh(toy, servicer, server, port, connect)
    await server.stop()


@pytest.mark.parametrize("shape", SHAPES)
async def test_who_did_what_from_where(audited: ToyMesh, sink: Sink, tokens: Any, shape: str) -> None:
    request = audited.toy.ToyRequest(behaviour="fine", items=[{"size": 3}])
    caller = tokens.metadata("toy.use", key_id="key-9")
    metadata = (*caller, ("x-parley-client-address", "192.0.2.7"), ("x-request-id", "request-1"))
    await audited.call(shape, request, metadata=metadata)
    *begun, ended = sink.events
    assert [event.stage for event in begun] == ([STARTED] if shape in STREAMS else [])
    assert (ended.stage, ended.decision, ended.code, ended.reason) == (ENDED, ALLOWED, "OK", "")
    for event in sink.events:
        assert event.method == f"/parley.toy.v1.ToyService/{shape}"
        assert (event.tenant_id, event.user_id, event.key_id) == ("tenant-1", "user-1", "key-9")
        assert (event.peer, event.client_address, event.request_id) == ("edge", "192.0.2.7", "request-1")
    assert ended.resources["items[0].size"] == "3"
    assert ended.request_digest == hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
    assert "fine" not in str(ended)


@pytest.mark.parametrize(("content", "kept"), [("digest", ""), ("full", '{"behaviour": "fine"}')])
async def test_what_was_asked_is_kept_in_full_only_where_the_settings_say_so(
    audited: ToyMesh, sink: Sink, tokens: Any, kept: str
) -> None:
    request = audited.toy.ToyRequest(behaviour="fine")
    await audited.call("Unary", request, metadata=tokens.metadata("toy.use"))
    (ended,) = sink.events
    assert ended.request_json == kept
    assert ended.request_digest


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("behaviour", "permission", "decision", "code", "reason"),
    [
        ("fine", "other", REFUSED, "PERMISSION_DENIED", "PERMISSION_MISSING"),
        ("x" * 33, "toy.use", REFUSED, "INVALID_ARGUMENT", "INVALID_REQUEST"),
        ("overloaded", "toy.use", REFUSED, "RESOURCE_EXHAUSTED", "OVERLOADED"),
        ("fault", "toy.use", ALLOWED, "INTERNAL", "INTERNAL"),
    ],
)
async def test_why_not(
    audited: ToyMesh,
    sink: Sink,
    tokens: Any,
    shape: str,
    behaviour: str,
    permission: str,
    decision: int,
    code: str,
    reason: str,
) -> None:
    request = audited.toy.ToyRequest(behaviour=behaviour)
    await audited.refusal(shape, request, metadata=tokens.metadata(permission))
    ended = sink.events[-1]
    # The messages of a stream are looked at one by one, when it runs already.
    decided = ALLOWED if reason == "INVALID_REQUEST" and shape in ("ClientStream", "BidiStream") else decision
    assert (ended.decision, ended.code, ended.reason) == (decided, code, reason)


async def test_a_stranger_and_a_neighbour_are_told_of_too(audited: ToyMesh, sink: Sink, tokens: Any) -> None:
    request = audited.toy.ToyRequest()
    await audited.refusal("Unary", request)
    await audited.refusal("Authenticated", request, metadata=tokens.metadata())
    assert [(event.reason, event.user_id) for event in sink.events] == [
        ("TOKEN_MISSING", ""),
        ("PEER_NOT_ALLOWED", ""),
    ]


async def test_the_address_that_a_neighbour_states_is_not_believed(
    audited: ToyMesh, sink: Sink, tokens: Any
) -> None:
    metadata = (*tokens.metadata(), ("x-parley-client-address", "192.0.2.7"))
    await audited.call("Authenticated", audited.toy.ToyRequest(), peer="tools", metadata=metadata)
    assert [(event.peer, event.client_address) for event in sink.events] == [("tools", "")]


async def test_a_cancelled_stream_has_an_end(audited: ToyMesh, sink: Sink, tokens: Any) -> None:
    channel = audited.connect("edge")
    request = audited.toy.ToyRequest(behaviour="wait")
    call = audited.toy.ToyServiceStub(channel).ServerStream(request, metadata=tokens.metadata("toy.use"))
    await audited.servicer.waiting.wait()
    call.cancel()
    await audited.servicer.cancelled.wait()
    await channel.close()
    await audited.server.stop()
    assert [event.stage for event in sink.events] == [STARTED, ENDED]
    assert sink.events[-1].code == "CANCELLED"


async def test_no_call_begins_that_could_not_be_written_down(
    audited: ToyMesh, sink: Sink, tokens: Any
) -> None:
    sink.full = True
    request = audited.toy.ToyRequest(behaviour="fine")
    error = await audited.refusal("Unary", request, metadata=tokens.metadata("toy.use"))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    sink.full = False
    assert await audited.call("Unary", request, metadata=tokens.metadata("toy.use"))


class Writer:
    """Delivers into a list; may be down, or hold everything up."""

    def __init__(self) -> None:
        self.batches: list[list[audit_pb2.AuditEvent]] = []
        self.faults: list[Exception] = []
        self.open = asyncio.Event()
        self.open.set()
        self.wrote = asyncio.Event()

    async def __call__(self, events: Sequence[audit_pb2.AuditEvent]) -> None:
        await self.open.wait()
        if self.faults:
            raise self.faults.pop(0)
        self.batches.append(list(events))
        self.wrote.set()

    @property
    def methods(self) -> list[str]:
        return [event.method for batch in self.batches for event in batch if event.method]

    @property
    def lost(self) -> int:
        return sum(event.lost for batch in self.batches for event in batch)


def event(number: int) -> audit_pb2.AuditEvent:
    return stamped(audit_pb2.AuditEvent(method=f"/{number}"))


async def test_everything_arrives_in_order_though_the_writer_was_away() -> None:
    writer = Writer()
    writer.faults = [DependencyUnavailable("database"), TimeoutError()]
    queue = AuditQueue(writer, capacity=2000)
    for number in range(1200):
        queue.record(event(number))
    async with delivering(queue, 20):
        await writer.wrote.wait()
    assert writer.methods == [f"/{number}" for number in range(1200)]
    assert max(map(len, writer.batches)) <= 500
    assert queue.waiting == 0


async def test_what_does_not_fit_is_counted_and_the_count_is_written() -> None:
    writer = Writer()
    queue = AuditQueue(writer, capacity=3)
    for number in range(10):
        queue.admit()
        queue.record(event(number))
    async with delivering(queue, 20):
        await writer.wrote.wait()
    assert (len(writer.methods), writer.lost) == (3, 7)


async def test_where_nothing_may_be_lost_new_calls_are_refused_and_running_ones_end() -> None:
    writer = Writer()
    queue = AuditQueue(writer, capacity=3, when_full="refuse")
    for number in range(5):
        queue.record(event(number))
    with pytest.raises(AuditFull):
        queue.admit()
    async with delivering(queue, 20):
        await writer.wrote.wait()
    queue.admit()
    assert (len(writer.methods), writer.lost) == (5, 1)


async def test_an_end_is_not_held_up_for_ever() -> None:
    writer = Writer()
    writer.open.clear()
    queue = AuditQueue(writer, capacity=3)
    queue.record(event(1))
    async with delivering(queue, 0.05):
        pass
    assert queue.waiting == 1


async def test_events_that_nobody_takes_are_counted() -> None:
    writer = Writer()
    writer.faults = [
        grpc.aio.AioRpcError(grpc.StatusCode.INVALID_ARGUMENT, grpc.aio.Metadata(), grpc.aio.Metadata())
    ]
    queue = AuditQueue(writer, capacity=3)
    queue.record(event(1))
    async with delivering(queue, 20):
        await writer.wrote.wait()
    assert (writer.methods, writer.lost) == ([], 1)
