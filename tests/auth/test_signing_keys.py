"""The ring of signing keys."""

from __future__ import annotations

import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from services.auth.errors import StartError
from services.auth.signing_keys import PUBLISH_LEAD, SigningKeys
from tests.auth.conftest import FakeClock

TOKEN_LIFE = timedelta(minutes=15)


def ring(folder: Path, clock: FakeClock) -> SigningKeys:
    return SigningKeys(folder, clock, TOKEN_LIFE)


def kids(keys: SigningKeys) -> set[str]:
    return {str(key.kid) for key in keys.published()}


def test_the_first_start_makes_a_key_for_its_owner_alone(tmp_path: Path, clock: FakeClock) -> None:
    keys = ring(tmp_path / "keys", clock)
    (path,) = (tmp_path / "keys").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert kids(keys) == {path.stem} == {str(keys.signer().kid)}


def test_a_restart_goes_on_with_the_same_key(tmp_path: Path, clock: FakeClock) -> None:
    assert ring(tmp_path, clock).signer().kid == ring(tmp_path, clock).signer().kid


def test_a_new_key_is_published_before_it_signs_and_the_old_one_until_its_tokens_end(
    tmp_path: Path, clock: FakeClock
) -> None:
    keys = ring(tmp_path, clock)
    old = str(keys.signer().kid)
    new = keys.rotate()
    assert (keys.signer().kid, kids(keys)) == (old, {old, new})
    clock.advance(seconds=PUBLISH_LEAD.total_seconds())
    assert (keys.signer().kid, kids(keys)) == (new, {old, new})
    clock.advance(seconds=TOKEN_LIFE.total_seconds() + 1)
    assert (keys.signer().kid, kids(keys)) == (new, {new})


def test_while_a_key_waits_for_its_time_no_other_begins(tmp_path: Path, clock: FakeClock) -> None:
    """Whoever may rotate cannot make the published keys more than verifiers fetch."""
    keys, other = ring(tmp_path, clock), ring(tmp_path, clock)
    new = keys.rotate()
    assert {keys.rotate(), other.rotate()} == {new}
    assert len(kids(keys)) == 2
    clock.advance(seconds=PUBLISH_LEAD.total_seconds())
    assert keys.rotate() != new


def test_another_replica_follows(tmp_path: Path, clock: FakeClock) -> None:
    one, other = ring(tmp_path, clock), ring(tmp_path, clock)
    clock.advance(seconds=1)
    new = one.rotate(timedelta(0))
    assert other.signer().kid == new
    assert kids(one) == kids(other)


def test_housekeeping_begins_a_new_key_in_time_and_deletes_what_is_over(
    tmp_path: Path, clock: FakeClock
) -> None:
    keys = ring(tmp_path, clock)
    old = str(keys.signer().kid)
    keys.keep_fresh(timedelta(days=30))
    assert kids(keys) == {old}
    clock.advance(days=30)
    keys.keep_fresh(timedelta(days=30))
    assert len(kids(keys)) == 2
    clock.advance(hours=1)
    keys.keep_fresh(timedelta(days=30))
    assert old not in kids(keys)
    assert not (tmp_path / f"{old}.json").exists()
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"activate_time": "2026-01-01T00:00:00+00:00", "jwk": {}}']
)
def test_a_broken_key_stops_the_start_and_its_content_is_not_told(
    tmp_path: Path, clock: FakeClock, content: bytes
) -> None:
    (tmp_path / "broken.json").write_bytes(content)
    with pytest.raises(StartError, match=r"the signing key .*broken\.json cannot be read"):
        ring(tmp_path, clock)


def test_the_private_part_is_not_in_the_repr(tmp_path: Path, clock: FakeClock) -> None:
    keys = ring(tmp_path, clock)
    (path,) = tmp_path.iterdir()
    private = json.loads(path.read_text())["jwk"]["d"]
    assert private not in repr(keys._ring)
