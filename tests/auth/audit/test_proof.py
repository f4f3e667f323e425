"""Whatever is done to the database by hand, the proof finds it and says where."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from services.auth.audit.checkpoints import Checkpoint, CheckpointKind, CheckpointSigner
from services.auth.audit.proof import FaultKind
from tests.auth.audit.conftest import DAY, Ledger, event
from tests.full_disk import files_end_at

CHANGED, REMOVED, REORDERED = FaultKind.CHANGED, FaultKind.REMOVED, FaultKind.REORDERED
CUT, REWRITTEN, UNANCHORED = FaultKind.CUT, FaultKind.REWRITTEN, FaultKind.UNANCHORED


@pytest.fixture
async def written(ledger: Ledger) -> Ledger:
    """Nine records, with a checkpoint after every third."""
    for first in (1, 4, 7):
        await ledger.write(*(f"/{number}" for number in range(first, first + 3)))
    return ledger


async def test_a_whole_chain_is_proven(written: Ledger) -> None:
    proof, faults = await written.prove()
    assert faults == []
    assert (proof.records, proof.first, proof.last) == (9, 1, 9)
    assert (proof.agreeing, proof.vouched) == (3, 9)


async def test_an_empty_chain_is_whole(ledger: Ledger) -> None:
    proof, faults = await ledger.prove()
    assert (proof.records, faults) == (0, [])


SWAP = (
    "UPDATE audit_records SET sequence = 1000 WHERE sequence = 4",
    "UPDATE audit_records SET sequence = 4 WHERE sequence = 5",
    "UPDATE audit_records SET sequence = 5 WHERE sequence = 1000",
)


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        pytest.param(
            ["UPDATE audit_records SET body = replace(body, '/5', '/x') WHERE sequence = 5"],
            [(CHANGED, 5, 5)],
            id="a body",
        ),
        pytest.param(
            ["UPDATE audit_records SET body = 'nonsense' WHERE sequence = 5"], [(CHANGED, 5, 5)], id="no body"
        ),
        pytest.param(
            ["UPDATE audit_records SET tenant_id = 'other' WHERE sequence = 5"],
            [(CHANGED, 5, 5)],
            id="what a record is found by",
        ),
        pytest.param(
            ["UPDATE audit_records SET event_time = '2020-01-01 00:00:00+00' WHERE sequence = 5"],
            [(CHANGED, 5, 5)],
            id="its time",
        ),
        pytest.param(
            ["UPDATE audit_records SET hash = previous_hash WHERE sequence = 5"],
            [(CHANGED, 5, 5)],
            id="a hash",
        ),
        pytest.param(["DELETE FROM audit_records WHERE sequence = 5"], [(REMOVED, 5, 5)], id="one removed"),
        pytest.param(
            ["DELETE FROM audit_records WHERE sequence IN (5, 6)"], [(REMOVED, 5, 6)], id="two removed"
        ),
        pytest.param(
            ["DELETE FROM audit_records WHERE sequence <= 4"], [(UNANCHORED, 5, 5)], id="the first removed"
        ),
        pytest.param(
            ["DELETE FROM audit_records WHERE sequence <= 3"],
            [(UNANCHORED, 4, 4)],
            id="the first removed, up to a checkpoint that vouches for no retention",
        ),
        pytest.param(["DELETE FROM audit_records WHERE sequence > 7"], [(CUT, 8, 9)], id="the tail cut"),
        pytest.param(
            [
                "DELETE FROM audit_records WHERE sequence > 7",
                "UPDATE audit_chain SET sequence = 7, "
                "hash = (SELECT hash FROM audit_records WHERE sequence = 7)",
            ],
            [(CUT, 8, 9)],
            id="the tail cut, and the chain's own memory of it",
        ),
        pytest.param(["DELETE FROM audit_records"], [(CUT, 1, 9)], id="all of it"),
    ],
)
async def test_tampering_is_found_where_it_is(
    written: Ledger, statements: list[str], expected: list[tuple[FaultKind, int, int]]
) -> None:
    await written.tamper(*statements)
    assert await written.found() == expected


async def test_swapped_records_are_found(written: Ledger) -> None:
    await written.tamper(*SWAP)
    found = await written.found()
    assert [fault for fault in found if fault[0] is REORDERED] == [(REORDERED, 4, 4), (REORDERED, 5, 5)]


async def test_a_tail_that_was_cut_and_grew_again_is_found(written: Ledger) -> None:
    await written.tamper(
        "DELETE FROM audit_records WHERE sequence > 7",
        "UPDATE audit_chain SET sequence = 7, hash = (SELECT hash FROM audit_records WHERE sequence = 7)",
    )
    await written.chain.append("auth", [])
    await written.write("/other", "/records")
    assert await written.found() == [(REWRITTEN, 9, 9)]


async def test_a_chain_written_anew_is_found(written: Ledger) -> None:
    await written.tamper("DELETE FROM audit_records", "UPDATE audit_chain SET sequence = 0")
    await written.write(*(f"/{number}" for number in range(9)))
    assert [fault for fault in await written.found() if fault[0] is REWRITTEN] == [
        (REWRITTEN, number, number) for number in (3, 6, 9)
    ]


async def test_another_chain_under_the_same_checkpoints_is_found(written: Ledger) -> None:
    await written.tamper("UPDATE audit_chain SET chain_id = 'another'")
    kinds = [kind for kind, *_ in await written.found()]
    assert kinds.count(FaultKind.CHECKPOINT) == 3
    assert CHANGED in kinds


async def test_forged_and_broken_checkpoints_are_found(written: Ledger) -> None:
    stranger = CheckpointSigner(written.folder / "strangers-key")
    assert written.chain.last is not None
    forged = Checkpoint(written.chain.last, CheckpointKind.RETENTION, written.clock())
    written.checkpoints.add(stranger.sign(forged))
    written.checkpoints.add("nonsense")
    written.checkpoints.add("x" * 10_000)
    found = await written.found()
    assert {kind for kind, *_ in found} == {FaultKind.CHECKPOINT}
    assert [first for _, first, _ in found][:2] == [4, 5]


async def test_a_checkpoint_that_there_is_no_room_for_spoils_no_other(written: Ledger) -> None:
    size = (written.folder / "checkpoints").stat().st_size
    await written.chain.append("auth", [event("/10", written.clock)])
    with files_end_at(size + 20), pytest.raises(OSError, match="File too large"):
        await written.keeper.checkpoint()
    await written.keeper.checkpoint()
    proof, faults = await written.prove()
    assert (faults, proof.agreeing, proof.vouched) == ([], 4, 10)


async def test_retention_leaves_a_chain_that_can_be_proven(written: Ledger) -> None:
    written.clock.now += 2 * DAY
    await written.write("/10", "/11")
    await written.keeper.prune()
    proof, faults = await written.prove()
    assert (faults, proof.first, proof.last) == ([], 10, 11)
    assert [event.resources["records"] for event in written.sink.events] == ["9"]
    await written.tamper("DELETE FROM audit_records WHERE sequence = 10")
    assert await written.found() == [(UNANCHORED, 11, 11)]


async def test_retention_keeps_the_newest_record_and_what_is_young(written: Ledger) -> None:
    await written.keeper.prune()
    assert (await written.prove())[0].records == 9
    written.clock.now += 2 * DAY
    await written.keeper.prune()
    await written.keeper.prune()
    proof, faults = await written.prove()
    assert (faults, proof.first, proof.last) == ([], 9, 9)
    await written.write("/after")
    assert await written.found() == []


async def test_records_that_retention_may_not_touch_stay_protected(written: Ledger) -> None:
    written.clock.now += 2 * DAY
    await written.keeper.prune()
    with pytest.raises(DBAPIError, match="never changed"):
        async with written.database.writing() as session:
            await session.execute(text("DELETE FROM audit_records"))
    assert (await written.prove())[0].last == 9


async def test_faults_say_where_for_people(written: Ledger) -> None:
    await written.tamper("DELETE FROM audit_records WHERE sequence IN (5, 6)")
    (fault,) = (await written.prove())[1]
    assert fault.message == "records 5 to 6: gone"
