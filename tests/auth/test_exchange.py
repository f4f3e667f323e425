"""The cache of the key exchange, and revocation over several replicas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import URL, Executable, event, update
from sqlalchemy.ext.asyncio import AsyncSession
from ulid import ULID

from services.auth.errors import KeyInvalid
from services.auth.exchange import TRUST_SECONDS, KeyExchange
from services.auth.keys import RANDOM_CHARACTERS, PresentedKey, checksum, mint, parse
from services.auth.last_use import LastUse
from services.auth.passwords import Passwords
from services.auth.signing_keys import SigningKeys
from services.auth.store.models import ApiKey, Tenant, User
from services.auth.tokens import AccessTokens
from services.sql.database import Database
from tests.auth.conftest import FakeClock, add_user
from tests.auth.watching import watched

LIFE = timedelta(minutes=15)


class Queries:
    """Counts the look-ups of keys that reach the database."""

    def __init__(self, database: Database) -> None:
        self.count = 0
        event.listen(database.engine.sync_engine, "before_cursor_execute", self._note)

    def _note(self, _c: object, _cu: object, statement: str, *_rest: object) -> None:
        self.count += "FROM api_keys" in statement


@pytest.fixture
async def key(database: Database, passwords: Passwords) -> PresentedKey:
    """A stored key without scopes."""
    user = await add_user(database, passwords, "ada", "user")
    secret = mint()
    async with database.writing() as session:
        session.add(
            ApiKey(
                key_id=str(ULID()),
                tenant_id=user.tenant_id,
                user_id=user.user_id,
                name="k",
                prefix=secret.prefix,
                digest=secret.digest(),
                scopes=[],
                create_time=datetime.now(UTC),
            )
        )
    return secret


@pytest.fixture
def tokens(tmp_path: Path, clock: FakeClock) -> AccessTokens:
    keys = SigningKeys(tmp_path / "keys", clock, LIFE)
    return AccessTokens(keys, clock, issuer="parley", audience="parley", life=LIFE)


@pytest.fixture
def replica(database: Database, tokens: AccessTokens, clock: FakeClock) -> KeyExchange:
    return KeyExchange(database, tokens, LastUse(database, clock), clock, clock.monotonic)


async def revoke(database: Database, key: PresentedKey) -> None:
    """Revoke as another replica would: in the database alone."""
    async with database.writing() as session:
        await session.execute(
            update(ApiKey).where(ApiKey.prefix == key.prefix).values(revoke_time=datetime.now(UTC))
        )


async def test_within_the_trusted_time_the_database_is_not_asked(
    database: Database, replica: KeyExchange, key: PresentedKey, clock: FakeClock
) -> None:
    queries = Queries(database)
    first = await replica.exchange(key.text)
    clock.advance(seconds=TRUST_SECONDS - 0.01)
    assert await replica.exchange(key.text) is first
    assert queries.count == 1


async def test_after_it_the_database_is_asked_and_the_token_goes_on(
    database: Database, replica: KeyExchange, key: PresentedKey, clock: FakeClock
) -> None:
    queries = Queries(database)
    first = await replica.exchange(key.text)
    clock.advance(seconds=TRUST_SECONDS + 0.01)
    assert (await replica.exchange(key.text)).text == first.text
    assert queries.count == 2


async def test_the_edge_may_trust_an_answer_for_what_is_left_of_that_time(
    replica: KeyExchange, key: PresentedKey, clock: FakeClock
) -> None:
    exchanged = await replica.look_up(key.text)
    assert replica.trusted_seconds(exchanged) == pytest.approx(TRUST_SECONDS)
    clock.advance(seconds=TRUST_SECONDS / 2)
    assert replica.trusted_seconds(exchanged) == pytest.approx(TRUST_SECONDS / 2)
    clock.advance(seconds=TRUST_SECONDS)
    assert replica.trusted_seconds(exchanged) == 0


async def test_the_edge_trusts_no_answer_beyond_its_token(
    replica: KeyExchange, key: PresentedKey, clock: FakeClock
) -> None:
    exchanged = await replica.look_up(key.text)
    left = timedelta(seconds=TRUST_SECONDS / 4)
    over = replace(exchanged, token=replace(exchanged.token, expires_at=clock() + left))
    assert replica.trusted_seconds(over) == pytest.approx(left.total_seconds())


async def test_a_revocation_by_another_replica_takes_effect_within_a_second(
    database: Database, replica: KeyExchange, key: PresentedKey, clock: FakeClock
) -> None:
    await replica.exchange(key.text)
    await revoke(database, key)
    clock.advance(seconds=0.9)
    with pytest.raises(KeyInvalid):
        await replica.exchange(key.text)


@pytest.mark.parametrize("changed", [User, Tenant])
async def test_a_token_made_before_its_user_changed_is_not_used_on(
    database: Database,
    replica: KeyExchange,
    key: PresentedKey,
    clock: FakeClock,
    changed: type[User | Tenant],
) -> None:
    first = await replica.exchange(key.text)
    async with database.writing() as session:
        await session.execute(update(changed).values(version=2))
    clock.advance(seconds=TRUST_SECONDS + 0.01)
    assert (await replica.exchange(key.text)).text != first.text


async def test_a_revocation_here_takes_effect_at_once(
    database: Database, replica: KeyExchange, key: PresentedKey
) -> None:
    await replica.exchange(key.text)
    await revoke(database, key)
    replica.forget(key.digest())
    with pytest.raises(KeyInvalid):
        await replica.exchange(key.text)


async def test_an_answer_under_way_during_the_revocation_is_not_kept(
    database: Database, replica: KeyExchange, key: PresentedKey
) -> None:
    asking = asyncio.create_task(replica.exchange(key.text))
    await asyncio.sleep(0)
    await revoke(database, key)
    replica.forget(key.digest())
    await asyncio.gather(asking, return_exceptions=True)
    with pytest.raises(KeyInvalid):
        await replica.exchange(key.text)


async def test_many_at_once_ask_the_database_once(
    database: Database, replica: KeyExchange, key: PresentedKey
) -> None:
    queries = Queries(database)
    answers = await asyncio.gather(*(replica.exchange(key.text) for _ in range(50)))
    assert len({answer.text for answer in answers}) == 1
    assert queries.count == 1


async def test_one_who_leaves_does_not_fail_the_others(replica: KeyExchange, key: PresentedKey) -> None:
    leaving = asyncio.create_task(replica.exchange(key.text))
    staying = asyncio.create_task(replica.exchange(key.text))
    await asyncio.sleep(0)
    leaving.cancel()
    async with asyncio.timeout(10):
        assert (await staying).text
    assert leaving.cancelled() or (await asyncio.gather(leaving, return_exceptions=True))


async def test_the_token_is_made_anew_shortly_before_its_end(
    replica: KeyExchange, key: PresentedKey, clock: FakeClock
) -> None:
    first = await replica.exchange(key.text)
    clock.advance(minutes=13.9)
    assert (await replica.exchange(key.text)).text == first.text
    clock.advance(minutes=0.2)
    second = await replica.exchange(key.text)
    assert second.text != first.text
    assert second.expires_at - clock() > timedelta(minutes=14)


async def test_changed_rights_make_a_new_token(
    database: Database, replica: KeyExchange, key: PresentedKey, clock: FakeClock
) -> None:
    first = await replica.exchange(key.text)
    async with database.writing() as session:
        await session.execute(update(ApiKey).where(ApiKey.prefix == key.prefix).values(scopes=["tools.list"]))
    clock.advance(seconds=TRUST_SECONDS + 0.01)
    assert (await replica.exchange(key.text)).text != first.text


async def test_an_unknown_key_and_a_wrong_one_are_the_same_work(
    database: Database, replica: KeyExchange, key: PresentedKey
) -> None:
    """What is done alike takes alike long: no clock is needed to see that neither tells the other apart."""
    stranger = mint()
    prefix, secret = key.text.split("_")[1], stranger.text.split("_")[2][:RANDOM_CHARACTERS]
    wrong = f"{key.prefix}_{secret}{checksum(prefix + secret)}"
    work = []
    for presented in (wrong, stranger.text):
        assert parse(presented) is not None, "it is well-formed: the database is asked"
        with watched(database) as done, pytest.raises(KeyInvalid):
            await replica.exchange(presented)
        work.append(done)
    assert work[0] == work[1]
    assert not any(line.startswith("a row") for line in work[0])
    with watched(database) as done:
        await replica.exchange(key.text)
    assert "a row of ApiKey" in done


class ChangedMeanwhile(Database):
    """Between the look at a key and its token, someone changes the owner."""

    def __init__(self, url: URL, statement: Executable) -> None:
        super().__init__(url)
        self._statement: Executable | None = statement

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        statement, self._statement = self._statement, None
        if statement is not None:
            async with super().writing() as session:
                await session.execute(statement)
        async with super().writing() as session:
            yield session


@pytest.mark.parametrize("whose", [User, Tenant])
async def test_who_is_shut_out_meanwhile_gets_no_token(
    database: Database, tokens: AccessTokens, key: PresentedKey, clock: FakeClock, whose: type[User | Tenant]
) -> None:
    shut_out = update(whose).values(disable_time=datetime.now(UTC), version=2)
    changing = ChangedMeanwhile(database.engine.url, shut_out)
    with pytest.raises(KeyInvalid):
        await KeyExchange(changing, tokens, LastUse(changing, clock), clock).exchange(key.text)
    await changing.close()


async def test_whose_owner_changes_meanwhile_gets_a_token_of_what_is_left(
    database: Database, tokens: AccessTokens, key: PresentedKey, clock: FakeClock
) -> None:
    fewer = update(User).values(version=2)
    changing = ChangedMeanwhile(database.engine.url, fewer)
    exchanged = await KeyExchange(changing, tokens, LastUse(changing, clock), clock).look_up(key.text)
    assert exchanged.grant.versions == (2, 1)
    await changing.close()


async def test_a_mistyped_key_does_not_reach_the_database(
    database: Database, replica: KeyExchange, key: PresentedKey
) -> None:
    queries = Queries(database)
    with pytest.raises(KeyInvalid):
        await replica.exchange(key.text[:-1])
    assert queries.count == 0
