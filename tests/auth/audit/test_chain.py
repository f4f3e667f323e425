"""The chain grows without gaps and without forks, and the database lets nobody change it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from itertools import pairwise

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from services.auth.audit.body import Body, genesis
from services.auth.store.audit import AuditQuery, AuditRecords
from services.rpc.errors import DependencyUnavailable
from services.sql.database import Database, parse_url
from tests.auth.audit.conftest import Ledger, event
from tests.auth.conftest import FakeClock


async def rows(database: Database) -> list[tuple[int, bytes, bytes, str]]:
    async with database.reading() as session:
        found = await AuditRecords(session).following(AuditQuery(), 0, 10_000, 10_000)
        return [(row.sequence, row.previous_hash, row.hash, row.body) for row in found]


async def test_each_record_follows_the_one_before(ledger: Ledger) -> None:
    await ledger.write("/a", "/b")
    await ledger.write("/c")
    async with ledger.database.reading() as session:
        head = await AuditRecords(session).head()
    previous = genesis(head.chain_id)
    for number, (sequence, before, own, body) in enumerate(await rows(ledger.database), 1):
        assert (sequence, before) == (number, previous)
        # Anyone can compute it: SHA-256 of the hash before and the body.
        assert own == hashlib.sha256(before + body.encode()).digest()
        assert json.loads(body)["sequence"] == number
        previous = own
    assert (head.sequence, head.hash) == (3, previous)


async def test_a_batch_that_comes_again_counts_once(ledger: Ledger) -> None:
    batch = [event("/a", ledger.clock), event("/b", ledger.clock)]
    await ledger.chain.append("tools", [*batch, batch[0]])
    await ledger.chain.append("tools", [batch[1], event("/c", ledger.clock)])
    methods = [Body.parse(body).event.method for *_, body in await rows(ledger.database)]
    assert methods == ["/a", "/b", "/c"]


async def test_replicas_that_write_at_once_do_not_fork_the_chain(
    database_url: str, ledger: Ledger, make_ledger: Callable[..., Ledger]
) -> None:
    other = Database(parse_url(database_url))
    replicas = [ledger.chain, make_ledger(other).chain]
    await asyncio.gather(
        *(
            replicas[number % 2].append(
                "auth", [event(f"/{number}/{part}", ledger.clock) for part in range(3)]
            )
            for number in range(40)
        )
    )
    await other.close()
    found = await rows(ledger.database)
    assert [row[0] for row in found] == list(range(1, 121))
    assert all(later[1] == earlier[2] for earlier, later in pairwise(found))
    assert await ledger.found() == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_records SET user_id = 'nobody' WHERE sequence = 1",
        "UPDATE audit_records SET body = '{}'",
        "DELETE FROM audit_records WHERE sequence = 2",
        "DELETE FROM audit_records",
        "DELETE FROM audit_chain",
    ],
)
async def test_the_database_refuses_to_change_or_delete_records(ledger: Ledger, statement: str) -> None:
    await ledger.write("/a", "/b")
    with pytest.raises(DBAPIError, match="never changed"):
        async with ledger.database.writing() as session:
            await session.execute(text(statement))
    assert len(await rows(ledger.database)) == 2


async def test_a_database_that_is_away_is_told_and_nothing_is_half_written(
    make_ledger: Callable[..., Ledger],
) -> None:
    away = Database(parse_url("postgresql+asyncpg://parley@127.0.0.1:1/parley"))
    ledger = make_ledger(away)
    with pytest.raises(DependencyUnavailable):
        await ledger.chain.append("auth", [event("/a", ledger.clock)])
    assert ledger.chain.last is None
    await away.close()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"sequence":1}', "[" * 100_000, '{"sequence":{},"service":1}']
)
def test_what_is_no_body_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a body"):
        Body.parse(text)


def test_a_body_is_one_text_whatever_strangers_wrote_into_it(clock: FakeClock) -> None:
    told = event('/a\n{"x":1}\0', clock)
    told.resources["name"] = 'quote " line\n\u202e'
    body = Body(7, "edge", told)
    assert Body.parse(body.text()) == body
    assert body.text() == Body.parse(body.text()).text()
    assert "\n" not in body.text()
    assert body.columns()["method"] == '/a\n{"x":1}'
