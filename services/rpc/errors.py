"""Errors that know their reason, and the status they leave with.

A service declares one subclass of `ServiceError` per value of its proto's
`ErrorReason` enum and raises it; the status code, the domain and the metadata
that must come along are read from the enum's options (AIP-193), so they are
written once, in the contract.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Protocol

import grpc
from google.protobuf.descriptor import EnumDescriptor, EnumValueDescriptor
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from parley.policy.v1 import error_reason_pb2, policy_pb2

REASON_PREFIX = "ERROR_REASON_"

STATUS_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True)
class FieldViolation:
    """A field that breaks a rule.

    Attributes:
        field: Path of the field, for example `messages[0].role`.
        description: The rule, in words that say what to do.
    """

    field: str
    description: str


@dataclass(frozen=True)
class QuotaViolation:
    """A limit that stands in the way.

    Attributes:
        subject: Whose limit, for example `user/01H…`.
        description: What it counts and how much may be used, for people.
        api_service: The service that counts, for example `inference.parley`.
        dimension: What it counts, for example `tokens_per_day`.
        value: How much may be used.
    """

    subject: str
    description: str
    api_service: str
    dimension: str
    value: int


class ReasonEnum(Protocol):
    """An `ErrorReason` enum, as generated code gives it."""

    @property
    def DESCRIPTOR(self) -> EnumDescriptor:
        """The enum in its contract."""
        ...


class ServiceError(Exception):
    """An error that may leave the service as it is.

    Attributes:
        reasons: The `ErrorReason` enum that the reason belongs to.
        reason: The reason's value. A class without one is abstract.
    """

    reasons: ClassVar[ReasonEnum]
    reason: ClassVar[int]

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after: timedelta | None = None,
        violations: Sequence[FieldViolation] = (),
        quota: Sequence[QuotaViolation] = (),
    ) -> None:
        """Make the error.

        Args:
            message: What happened and what to do, for people. Leaves the house.
            metadata: The keys that the reason promises, and no others.
            retry_after: When trying again is worth it, as `google.rpc.RetryInfo`.
            violations: The fields at fault, as `google.rpc.BadRequest`.
            quota: The limits in the way, as `google.rpc.QuotaFailure`.

        Raises:
            ValueError: The metadata's keys are not those the contract promises.
        """
        super().__init__(message)
        self.message = message
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after
        self.violations = tuple(violations)
        self.quota = tuple(quota)
        promised = set(self.policy().metadata_keys)
        if promised != self.metadata.keys():
            raise ValueError(f"{type(self).__name__} promises the metadata {sorted(promised)}")

    @classmethod
    def descriptor(cls) -> EnumValueDescriptor:
        """The reason's value in the contract."""
        return cls.reasons.DESCRIPTOR.values_by_number[cls.reason]

    @classmethod
    def policy(cls) -> policy_pb2.ReasonPolicy:
        """How the reason travels, as its contract says."""
        policy: policy_pb2.ReasonPolicy = cls.descriptor().GetOptions().Extensions[policy_pb2.reason]
        return policy

    @classmethod
    def reason_name(cls) -> str:
        """The reason as `google.rpc.ErrorInfo.reason` spells it."""
        return str(cls.descriptor().name).removeprefix(REASON_PREFIX)

    @classmethod
    def domain(cls) -> str:
        """The reason's domain: `parley.inference.v1` gives `inference.parley`."""
        root, name, *_ = str(cls.reasons.DESCRIPTOR.file.package).split(".")
        return f"{name}.{root}"

    @property
    def code(self) -> grpc.StatusCode:
        """The canonical status code."""
        return STATUS_CODES[self.policy().code]

    def to_status(self) -> status_pb2.Status:
        """The error as it travels, details included."""
        status = status_pb2.Status(code=self.policy().code, message=self.message)
        info = error_details_pb2.ErrorInfo(
            reason=self.reason_name(), domain=self.domain(), metadata=self.metadata
        )
        status.details.add().Pack(info)
        if self.retry_after is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromTimedelta(self.retry_after)
            status.details.add().Pack(retry)
        if self.violations:
            bad_request = error_details_pb2.BadRequest()
            for violation in self.violations:
                bad_request.field_violations.add(field=violation.field, description=violation.description)
            status.details.add().Pack(bad_request)
        if self.quota:
            status.details.add().Pack(_quota_failure(self.quota))
        return status

    def trailers(self) -> tuple[tuple[str, str], ...]:
        """What callers over HTTP read in headers: `retry-after`, in whole seconds (RFC 9110, 10.2.3)."""
        if self.retry_after is None:
            return ()
        return (("retry-after", str(max(1, math.ceil(self.retry_after.total_seconds())))),)


def _quota_failure(violations: Sequence[QuotaViolation]) -> error_details_pb2.QuotaFailure:
    """The limits in the way, as they travel."""
    failure = error_details_pb2.QuotaFailure()
    for violation in violations:
        failure.violations.add(
            subject=violation.subject,
            description=violation.description,
            api_service=violation.api_service,
            quota_metric=violation.dimension,
            quota_id=f"{violation.subject}/{violation.dimension}",
            quota_value=violation.value,
        )
    return failure


class PolicyError(ServiceError):
    """An error that any service can give."""

    reasons = error_reason_pb2.ErrorReason


class InvalidRequest(PolicyError):
    """A field breaks its rule."""

    reason = error_reason_pb2.ERROR_REASON_INVALID_REQUEST


class TokenMissing(PolicyError):
    """The method needs a token and none came."""

    reason = error_reason_pb2.ERROR_REASON_TOKEN_MISSING

    def __init__(self) -> None:
        super().__init__("This method needs a token: log in, or send an API key.")


class TokenExpired(PolicyError):
    """The token's time is over."""

    reason = error_reason_pb2.ERROR_REASON_TOKEN_EXPIRED

    def __init__(self) -> None:
        super().__init__("The token has expired: refresh it, or log in again.")


class TokenInvalid(PolicyError):
    """The token was not made by this deployment, or not for it, or was altered."""

    reason = error_reason_pb2.ERROR_REASON_TOKEN_INVALID

    def __init__(self) -> None:
        super().__init__("The token is not one that this deployment made for this service.")


class TokenRevoked(PolicyError):
    """The token's key, session, user or tenant was ended."""

    reason = error_reason_pb2.ERROR_REASON_TOKEN_REVOKED

    def __init__(self) -> None:
        super().__init__("The token was revoked: log in again, or use another key.")


class PermissionMissing(PolicyError):
    """The token does not hold a permission."""

    reason = error_reason_pb2.ERROR_REASON_PERMISSION_MISSING

    def __init__(self, permission: str) -> None:
        super().__init__(
            f"The permission {permission} is missing: ask an administrator for it.",
            metadata={"permission": permission},
        )


class PeerNotAllowed(PolicyError):
    """The connection's certificate may not call the method."""

    reason = error_reason_pb2.ERROR_REASON_PEER_NOT_ALLOWED

    def __init__(self) -> None:
        super().__init__("This method cannot be called with the connection's certificate.")


class DeadlineExceeded(PolicyError):
    """The deadline passed before the answer was whole."""

    reason = error_reason_pb2.ERROR_REASON_DEADLINE_EXCEEDED


class Cancelled(PolicyError):
    """The caller, or someone for the caller, cancelled."""

    reason = error_reason_pb2.ERROR_REASON_CANCELLED


class Draining(PolicyError):
    """The process is stopping."""

    reason = error_reason_pb2.ERROR_REASON_DRAINING

    def __init__(self) -> None:
        super().__init__(
            "This replica is stopping; try again to reach another.", retry_after=timedelta(seconds=1)
        )


class DependencyUnavailable(PolicyError):
    """A service that this one needs did not answer."""

    reason = error_reason_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE

    def __init__(self, service: str) -> None:
        super().__init__(
            f"The {service} service does not answer; try again.",
            metadata={"service": service},
            retry_after=timedelta(seconds=1),
        )


class MethodUnknown(PolicyError):
    """The contract has no such method, or the process does not serve it."""

    reason = error_reason_pb2.ERROR_REASON_METHOD_UNKNOWN

    def __init__(self) -> None:
        super().__init__("No such method is served here: list what there is through reflection.")


class Internal(PolicyError):
    """A fault of ours; the log has it in full under the request id."""

    reason = error_reason_pb2.ERROR_REASON_INTERNAL

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"An internal error occurred; report the request id {request_id}.",
            metadata={"request_id": request_id},
        )


class PageTokenInvalid(PolicyError):
    """A page token that the method did not make, or made for another query."""

    reason = error_reason_pb2.ERROR_REASON_PAGE_TOKEN_INVALID

    def __init__(self) -> None:
        super().__init__("page_token is not one that this query returned: start from the first page.")


class Overloaded(PolicyError):
    """The process already serves as many calls as it may."""

    reason = error_reason_pb2.ERROR_REASON_OVERLOADED


class AuditFull(PolicyError):
    """The audit cannot take more, and calls without it are not allowed."""

    reason = error_reason_pb2.ERROR_REASON_AUDIT_FULL

    def __init__(self) -> None:
        super().__init__("The audit is full; try again.", retry_after=timedelta(seconds=1))


def status_of(error: grpc.RpcError) -> status_pb2.Status:
    """What another service answered, details included.

    An error without a rich status gets one of its code alone: its text may be
    the transport's own and tells callers nothing.
    """
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        status = None
    if status is not None:
        return status
    code = error.code() if isinstance(error, grpc.aio.AioRpcError) else grpc.StatusCode.UNKNOWN
    number = int(code.value[0])
    return status_pb2.Status(code=number, message=code_pb2.Code.Name(code_pb2.Code.ValueType(number)))


def error_info(status: status_pb2.Status) -> error_details_pb2.ErrorInfo | None:
    """The status's `ErrorInfo`, if it carries one."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return info
    return None
