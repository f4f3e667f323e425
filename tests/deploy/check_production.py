"""Compose's `production` on a CPU, with Prometheus beside it: the second half of `make test-images`.

PostgreSQL, Valkey and Prometheus are the images that `compose.yaml` names; where no registry is reached,
`deploy/docker/engine.sh stand-ins` makes Debian's own under these names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.local.processes import eventually
from tests.deploy.composed import PRODUCTION, Composed, composed
from tests.deploy.questions import CHECK, ComposedQuestions, answer, end_well_and_leave_nothing

pytestmark = CHECK

ASKED = (Path(__file__).parent / "asked_inside.py").read_text(encoding="utf-8")
PING_CACHE = (
    "from pathlib import Path; from redis import Redis;"
    " print(Redis.from_url(Path('/run/secrets/PARLEY_INFERENCE_CACHE_URL').read_text()).ping())"
)
PROMETHEUS = "http://127.0.0.1:9090/api/v1"
SCRAPED_SECONDS = 90


@pytest.fixture(scope="module")
def platform(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    with composed(PRODUCTION, tmp_path_factory.mktemp("composed")) as running:
        yield running


@pytest.fixture(scope="module")
def said(platform: Composed) -> dict[str, dict[str, Any]]:
    """What the store and the database say to those who come from auth's container, each in another way."""
    said: dict[str, dict[str, Any]] = json.loads(platform.inside("auth-production", "python", "-c", ASKED))
    return said


async def test_a_question_is_answered(platform: Composed) -> None:
    text = await answer(await platform.admin())
    print(f"first answer after {platform.seconds:.1f} s: {text}")
    assert "391" in text


class TestProduction(ComposedQuestions):
    """The same as of every variant."""


def test_the_store_lets_in_by_tls_and_password_alone(said: dict[str, dict[str, Any]]) -> None:
    store = said["store"]
    assert store["as it should"] == "True"
    assert store["without TLS"].startswith("ConnectionError")
    assert "CERTIFICATE_VERIFY_FAILED" in store["not trusting the authority"]
    assert store["with a wrong password"].startswith("AuthenticationError")
    assert store["without a password"].startswith("AuthenticationError")
    assert store["as the default user"].startswith("AuthenticationError")
    assert store["at the cache"].startswith("AuthenticationError")


def test_the_cache_lets_the_engine_in(platform: Composed) -> None:
    """By a certificate of its own name, and a password that is not the store's."""
    assert platform.inside("inference-production", "python", "-c", PING_CACHE).strip() == "True"


def test_who_is_let_in_cannot_empty_or_change_the_store(said: dict[str, dict[str, Any]]) -> None:
    assert said["store"]["to empty it"].startswith("NoPermissionError")
    assert said["store"]["to change its settings"].startswith("NoPermissionError")


def test_the_database_lets_in_by_tls_and_password_alone(said: dict[str, dict[str, Any]]) -> None:
    database = said["database"]
    assert database["as it should"] == "TLSv1.3"
    assert "no encryption" in database["without TLS"]
    assert database["with a wrong password"].startswith("InvalidPasswordError")
    assert database["without a password"].startswith("InvalidPasswordError")


def test_everything_is_kept_in_the_database(said: dict[str, dict[str, Any]]) -> None:
    """Both services' tables, reached over TLS by all who are there."""
    assert {"users", "messages"} <= set(said["database"]["tables"])
    assert said["database"]["came without TLS"] == 0


async def test_prometheus_reaches_each_service_and_has_the_rules(platform: Composed) -> None:
    def asked(path: str) -> Any:
        answer = platform.inside("prometheus", "wget", "-qO-", f"{PROMETHEUS}/{path}")
        return json.loads(answer)["data"]

    def all_up() -> bool:
        targets = asked("targets")["activeTargets"]
        return bool(targets) and all(target["health"] == "up" for target in targets)

    await eventually(all_up, SCRAPED_SECONDS)
    jobs = {target["labels"]["job"] for target in asked("targets")["activeTargets"]}
    assert jobs == {"parley-auth", "parley-tools", "parley-inference"}
    rules = [rule for group in asked("rules")["groups"] for rule in group["rules"]]
    assert rules
    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []


def test_they_end_well_and_nothing_is_left(platform: Composed) -> None:
    end_well_and_leave_nothing(platform)
