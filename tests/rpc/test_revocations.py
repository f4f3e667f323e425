"""Which tokens are revoked, and how open calls end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from ulid import ULID

from parley.auth.v1 import revocation_service_pb2 as pb2
from services.rpc.errors import TokenRevoked, error_info, status_of
from services.rpc.principal import Principal
from services.rpc.revocations import Revocation, Revocations, Subject
from tests.conftest import TokenMaker
from tests.rpc.conftest import SHAPES, ToyMesh

KINDS = {
    pb2.REVOCATION_KIND_KEY: "key_id",
    pb2.REVOCATION_KIND_SESSION: "session_id",
    pb2.REVOCATION_KIND_USER: "user_id",
    pb2.REVOCATION_KIND_TENANT: "tenant_id",
}
COMES_BACK = (pb2.REVOCATION_KIND_USER, pb2.REVOCATION_KIND_TENANT)

kinds = pytest.mark.parametrize("kind", KINDS, ids=KINDS.values())


def revocation(kind: Any, subject_id: str, time: datetime | None = None) -> Revocation:
    time = time or datetime.now(UTC)
    return Revocation(Subject(kind, subject_id), time, time + timedelta(minutes=15))


def known(*revocations: Revocation, **options: Any) -> Revocations:
    known = Revocations(synchronized=True, **options)
    for each in revocations:
        known.add(each)
    return known


def issued(tokens: TokenMaker, time: datetime, **changes: Any) -> Principal:
    return tokens.principal(token_id=str(ULID.from_datetime(time)), **changes)


@kinds
async def test_a_token_is_revoked_by_each_of_its_subjects_and_by_no_other(
    tokens: TokenMaker, kind: Any
) -> None:
    caller = tokens.principal(key_id="key-1")
    assert known(revocation(kind, getattr(caller, KINDS[kind]))).revoked(caller)
    others = [revocation(other, getattr(caller, KINDS[kind])) for other in KINDS if other != kind]
    assert not known(revocation(kind, "another"), *others).revoked(caller)


@kinds
async def test_only_users_and_tenants_come_back(tokens: TokenMaker, kind: Any) -> None:
    time = datetime.now(UTC).replace(microsecond=0)
    caller = issued(tokens, time + timedelta(milliseconds=1), key_id="key-1")
    revoked = known(revocation(kind, getattr(caller, KINDS[kind]), time)).revoked(caller)
    assert revoked is (kind not in COMES_BACK)


async def test_a_token_without_a_key_is_not_of_the_empty_key(tokens: TokenMaker) -> None:
    caller = tokens.principal(key_id="", session_id="")
    empty = [revocation(kind, "") for kind in (pb2.REVOCATION_KIND_KEY, pb2.REVOCATION_KIND_SESSION)]
    assert not known(*empty).revoked(caller)


async def test_an_earlier_revocation_does_not_undo_a_later_one(tokens: TokenMaker) -> None:
    now = datetime.now(UTC)
    caller = issued(tokens, now - timedelta(seconds=1))
    kind = pb2.REVOCATION_KIND_USER
    both = known(
        revocation(kind, caller.user_id, now),
        revocation(kind, caller.user_id, now - timedelta(seconds=5)),
    )
    assert both.revoked(caller)
    assert len(both) == 1


async def test_what_matters_no_longer_is_forgotten() -> None:
    now = datetime.now(UTC)
    old = [revocation(pb2.REVOCATION_KIND_KEY, f"key-{n}", now - timedelta(hours=1)) for n in range(3)]
    fresh = revocation(pb2.REVOCATION_KIND_KEY, "key-fresh", now)
    assert len(known(*old, fresh)) == 1


async def test_when_there_are_too_many_old_tokens_are_refused_rather_than_revoked_ones_taken(
    tokens: TokenMaker,
) -> None:
    now = datetime.now(UTC)
    times = [now - timedelta(seconds=3 - number) for number in range(3)]
    full = known(
        *(revocation(pb2.REVOCATION_KIND_KEY, f"key-{n}", time) for n, time in enumerate(times)), capacity=2
    )
    assert len(full) == 2
    assert full.revoked(issued(tokens, times[0], key_id="key-0"))
    assert full.revoked(issued(tokens, times[0], key_id="key-of-nobody"))
    assert not full.revoked(issued(tokens, now, key_id="key-of-nobody"))


async def test_a_process_that_knows_nothing_yet_waits_until_it_does(tokens: TokenMaker) -> None:
    revocations = Revocations()
    caller = tokens.principal()
    checking = asyncio.create_task(revocations.check(caller))
    await asyncio.sleep(0)
    assert not checking.done()
    revocations.add(revocation(pb2.REVOCATION_KIND_USER, caller.user_id))
    revocations.synchronize()
    with pytest.raises(TokenRevoked):
        await checking


async def test_a_watcher_is_told_once_it_matters_and_no_longer_than_it_watches(tokens: TokenMaker) -> None:
    revocations, told = known(), []
    caller = tokens.principal()
    with revocations.watching(caller, lambda: told.append("during")):
        revocations.add(revocation(pb2.REVOCATION_KIND_USER, "another"))
        assert told == []
        revocations.add(revocation(pb2.REVOCATION_KIND_SESSION, caller.session_id))
        assert told == ["during"]
    revocations.add(revocation(pb2.REVOCATION_KIND_USER, caller.user_id))
    with revocations.watching(caller, lambda: told.append("before")):
        assert told == ["during", "before"]


def reason(error: grpc.aio.AioRpcError) -> str:
    info = error_info(status_of(error))
    assert info is not None, error
    return f"{error.code().name} {info.domain}/{info.reason}"


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_revoked_token_is_refused(mesh: ToyMesh, tokens: TokenMaker, shape: str) -> None:
    mesh.revocations.add(revocation(pb2.REVOCATION_KIND_KEY, "key-1"))
    error = await mesh.refusal(
        shape, mesh.toy.ToyRequest(), metadata=tokens.metadata("toy.use", key_id="key-1")
    )
    assert reason(error) == "UNAUTHENTICATED policy.parley/TOKEN_REVOKED"
    metadata = tokens.metadata("toy.use", key_id="key-2")
    answers = await mesh.call(shape, mesh.toy.ToyRequest(behaviour="hello"), metadata=metadata)
    assert answers[-1].text.startswith("hello")


@pytest.mark.parametrize("shape", SHAPES)
async def test_an_open_call_ends_when_its_token_is_revoked(
    mesh: ToyMesh, tokens: TokenMaker, shape: str
) -> None:
    request = mesh.toy.ToyRequest(behaviour="wait")
    metadata = tokens.metadata("toy.use", key_id="key-1")
    call = asyncio.create_task(mesh.refusal(shape, request, metadata=metadata))
    async with asyncio.timeout(10):
        await mesh.servicer.waiting.wait()
        mesh.revocations.add(revocation(pb2.REVOCATION_KIND_KEY, "key-1"))
        assert reason(await call) == "UNAUTHENTICATED policy.parley/TOKEN_REVOKED"
        await mesh.servicer.cancelled.wait()


async def test_an_open_call_that_waits_for_requests_ends_too(mesh: ToyMesh, tokens: TokenMaker) -> None:
    async with mesh.connect("edge") as channel:
        stub = mesh.toy.ToyServiceStub(channel)
        call = stub.BidiStream(metadata=tokens.metadata("toy.use", key_id="key-1"), timeout=20)
        await call.write(mesh.toy.ToyRequest(behaviour="hello"))
        assert (await call.read()).text.startswith("hello")
        mesh.revocations.add(revocation(pb2.REVOCATION_KIND_KEY, "key-1"))
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
    assert reason(ended.value) == "UNAUTHENTICATED policy.parley/TOKEN_REVOKED"


async def test_a_client_that_does_not_read_is_cut(mesh: ToyMesh, tokens: TokenMaker) -> None:
    async with mesh.connect("edge") as channel, asyncio.timeout(20):
        stub = mesh.toy.ToyServiceStub(channel)
        metadata = tokens.metadata("toy.use", key_id="key-1")
        call = stub.ServerStream(mesh.toy.ToyRequest(behaviour="flood"), metadata=metadata)
        await call.read()
        await mesh.servicer.stuck()
        mesh.revocations.add(revocation(pb2.REVOCATION_KIND_KEY, "key-1"))
        await mesh.servicer.cancelled.wait()
        call.cancel()


async def test_a_call_of_another_is_left_alone(mesh: ToyMesh, tokens: TokenMaker) -> None:
    async with mesh.connect("edge") as channel, asyncio.timeout(20):
        stub = mesh.toy.ToyServiceStub(channel)
        call = stub.BidiStream(metadata=tokens.metadata("toy.use", key_id="key-2"))
        await call.write(mesh.toy.ToyRequest(behaviour="hello"))
        await call.read()
        mesh.revocations.add(revocation(pb2.REVOCATION_KIND_KEY, "key-1"))
        await call.write(mesh.toy.ToyRequest(behaviour="hello"))
        assert (await call.read()).text.startswith("hello")
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
