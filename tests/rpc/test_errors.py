"""Errors: every reason has a class, and every class travels whole."""

from __future__ import annotations

from datetime import timedelta

import grpc
import pytest
from google.rpc import error_details_pb2

from parley.auth.v1 import error_reason_pb2 as auth_reasons
from parley.inference.v1 import error_reason_pb2 as inference_reasons
from parley.policy.v1 import error_reason_pb2 as policy_reasons
from parley.policy.v1 import policy_pb2
from parley.tools.v1 import error_reason_pb2 as tools_reasons
from services.rpc.errors import (
    Draining,
    FieldViolation,
    InvalidRequest,
    PermissionMissing,
    PolicyError,
    ServiceError,
)
from services.rpc.quota_errors import BudgetExhausted, Refused

ENUMS = [policy_reasons, inference_reasons, tools_reasons, auth_reasons]


@pytest.mark.parametrize("module", ENUMS, ids=lambda module: module.DESCRIPTOR.package)
def test_every_reason_says_how_it_travels(module: object) -> None:
    values = module.ErrorReason.DESCRIPTOR.values  # type: ignore[attr-defined]
    assert [
        value.name
        for value in values
        if value.number and not value.GetOptions().HasExtension(policy_pb2.reason)
    ] == []


def concrete(error: type[ServiceError]) -> list[type[ServiceError]]:
    """The classes below this one that have a reason of their own."""
    below = error.__subclasses__()
    own = [found for found in below if "reason" in vars(found)]
    return own + [deeper for found in below for deeper in concrete(found)]


def test_every_common_reason_has_exactly_one_class() -> None:
    mapped = sorted(found.reason for found in concrete(PolicyError))
    declared = sorted(value for value in policy_reasons.ErrorReason.values() if value)
    assert mapped == declared


def test_the_domain_names_the_service() -> None:
    assert InvalidRequest.domain() == "policy.parley"
    assert InvalidRequest.reason_name() == "INVALID_REQUEST"


def test_metadata_must_be_what_the_contract_promises() -> None:
    class WithoutMetadata(PermissionMissing):
        def __init__(self) -> None:
            PolicyError.__init__(self, "no metadata")

    with pytest.raises(ValueError, match="permission"):
        WithoutMetadata()


def test_details_travel() -> None:
    violations = [FieldViolation("name", "too long")]
    status = InvalidRequest(
        "name: too long", violations=violations, retry_after=timedelta(seconds=3)
    ).to_status()
    retry, bad = error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert any(detail.Unpack(bad) for detail in status.details)
    assert (status.code, retry.retry_delay.seconds, bad.field_violations[0].field) == (3, 3, "name")


def test_a_code_is_read_from_the_contract() -> None:
    assert Draining().code is grpc.StatusCode.UNAVAILABLE


def test_a_quota_in_the_way_travels_with_its_figures_and_headers() -> None:
    refused = Refused("user/7", "tokens_per_day", 500, 3, timedelta(seconds=90.5), "inference.parley")
    error = BudgetExhausted(refused)
    status = error.to_status()
    failure, retry = error_details_pb2.QuotaFailure(), error_details_pb2.RetryInfo()
    assert any(detail.Unpack(failure) for detail in status.details)
    assert any(detail.Unpack(retry) for detail in status.details)
    (violation,) = failure.violations
    assert (violation.subject, violation.quota_metric, violation.quota_value) == (
        "user/7",
        "tokens_per_day",
        500,
    )
    assert dict(error.trailers()) == {
        "retry-after": "91",
        "x-ratelimit-limit": "500",
        "x-ratelimit-remaining": "3",
        "x-ratelimit-reset": "91",
    }


def test_a_quota_that_never_suffices_names_no_time() -> None:
    error = BudgetExhausted(Refused("user/7", "tokens_per_day", 0, 0, None))
    assert dict(error.trailers()) == {"x-ratelimit-limit": "0", "x-ratelimit-remaining": "0"}
    assert "ask for less" in error.message
