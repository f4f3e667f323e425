"""`parley quota`, and the rows of `parley bench auth` that need no stack."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from parley.auth.v1 import quota_pb2, quota_service_pb2
from services.ledger.quotas import subject_from
from tests.cli.conftest import Run
from tests.client.toy_platform import KEY_ID, ToyPlatform

QUOTA = quota_pb2.Quota(
    subject=subject_from("model/parley-demo"),
    limits=quota_pb2.QuotaLimits(tokens_per_day=1000, concurrent_streams=0),
    price=quota_pb2.TokenPrice(prompt_nanos=150, completion_nanos=600),
)


@pytest.fixture
def told(toy: ToyPlatform) -> ToyPlatform:
    """The toy, which knows one quota and how far it is used."""
    reset = Timestamp()
    reset.FromDatetime(datetime(2026, 11, 24, tzinfo=UTC))
    use = quota_pb2.QuotaUse(
        subject=QUOTA.subject,
        dimension=quota_pb2.QUOTA_DIMENSION_TOKENS_PER_DAY,
        limit=1000,
        used=400,
        reset_time=reset,
    )
    toy.answers = {
        "ListQuotas": quota_service_pb2.ListQuotasResponse(quotas=[QUOTA]),
        "GetQuota": quota_service_pb2.GetQuotaResponse(quota=QUOTA),
        "SetQuota": quota_service_pb2.SetQuotaResponse(quota=QUOTA),
        "GetQuotaStatus": quota_service_pb2.GetQuotaStatusResponse(uses=[use]),
    }
    return toy


def test_quotas_are_a_table_or_json(parley: Run, told: ToyPlatform) -> None:
    for arguments in (("list",), ("show", "model/parley-demo")):
        row = parley("quota", *arguments).stdout.splitlines()[1]
        assert "model/parley-demo" in row
        assert "0 concurrent streams, 1000 tokens per day" in row
        assert "150 in, 600 out" in row
    assert json.loads(parley("quota", "list", "--json").stdout)[0]["price"]["prompt_nanos"] == "150"
    assert "model" in json.loads(parley("quota", "show", "model/m", "--json").stdout)["subject"]


def test_what_is_given_is_limited_and_nothing_else(parley: Run, told: ToyPlatform) -> None:
    given = ("--tokens-per-day", "1000", "--concurrent-streams", "0", "--completion-nanos", "600")
    assert parley("quota", "set", "model/parley-demo", *given, "--tenant", KEY_ID).exit_code == 0
    asked = told.requests[-1]
    assert asked.tenant_id == KEY_ID
    assert asked.quota.limits == QUOTA.limits
    assert asked.quota.price == quota_pb2.TokenPrice(completion_nanos=600)
    assert parley("quota", "set", "default").exit_code == 0
    assert not told.requests[-1].quota.HasField("price")


def test_a_quota_is_deleted_by_its_subject(parley: Run, told: ToyPlatform) -> None:
    result = parley("quota", "delete", f"user/{KEY_ID}")
    assert result.stdout == f"user/{KEY_ID} has no quota any more.\n"
    assert told.requests[-1].subject.user_id == KEY_ID


def test_the_status_shows_what_is_left(parley: Run, told: ToyPlatform) -> None:
    row = parley("quota", "status", "--model", "parley-demo").stdout.splitlines()[1]
    assert " ".join(row.split()) == "model/parley-demo tokens per day 1000 400 600 2026-11-24 00:00"
    assert told.requests[-1].model == "parley-demo"
    assert json.loads(parley("quota", "status", "--json").stdout)[0]["used"] == "400"


@pytest.mark.parametrize("subject", ["nobody", "user/", "group/x", ""])
def test_what_is_no_subject_is_said_with_what_is_one(parley: Run, told: ToyPlatform, subject: str) -> None:
    result = parley("quota", "show", subject)
    assert result.exit_code == 2 or "no subject" in result.stderr
    assert told.requests == []


def test_the_cost_of_counting_is_measured(alone: Run) -> None:
    rows = json.loads(alone("bench", "auth", "--only", "quotas", "--calls", "10", "--json").stdout)
    assert [row["target"] for row in rows] == ["1", "", "1", ""]
    assert all(0 < row["milliseconds"] < 1000 for row in rows)
    assert "nothing called" in alone("bench", "auth", "--only", "nonsense").stderr
