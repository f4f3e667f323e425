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
from services.rpc.errors import Draining, FieldViolation, InvalidRequest, PermissionMissing, PolicyError

ENUMS = [policy_reasons, inference_reasons, tools_reasons, auth_reasons]


@pytest.mark.parametrize("module", ENUMS, ids=lambda module: module.DESCRIPTOR.package)
def test_every_reason_says_how_it_travels(module: object) -> None:
    values = module.ErrorReason.DESCRIPTOR.values  # type: ignore[attr-defined]
    assert [
        value.name
        for value in values
        if value.number and not value.GetOptions().HasExtension(policy_pb2.reason)
    ] == []


def test_every_common_reason_has_exactly_one_class() -> None:
    mapped = sorted(found.reason for found in PolicyError.__subclasses__())
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
