"""What a call to Parley can end with, as one typed exception."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DETAILS_KEY = "grpc-status-details-bin"
"""Trailer that carries a serialized google.rpc.Status (gRPC richer error model)."""

_HINTS: Mapping[str, str] = {
    "TOKEN_MISSING": "Log in with `parley login`, or send an API key.",
    "TOKEN_EXPIRED": "Log in again with `parley login`.",
    "TOKEN_INVALID": "Log in again with `parley login`.",
    "CREDENTIALS_INVALID": "Check the user name and the password.",
    "REFRESH_TOKEN_INVALID": "Log in again with `parley login`.",
    "KEY_INVALID": "Make a new key with `parley keys create`.",
    "MODEL_NOT_FOUND": "`parley models list` shows the names that exist.",
    "ADAPTER_NOT_FOUND": "`parley adapters list` shows the names that exist.",
    "TOO_MANY_ADAPTERS": "`parley adapters list` shows what is loaded.",
    "ROLLOUT_NOT_FOUND": "`parley rollouts list` shows the names that exist.",
    "VARIANT_MODEL_UNAVAILABLE": "`parley models list` shows what is ready.",
    "TOOL_NOT_FOUND": "`parley tools list` shows the names that exist.",
    "TOOL_NOT_OFFERED": "`parley tools list` shows the names that exist.",
}

_CODE_HINTS: Mapping[grpc.StatusCode, str] = {
    grpc.StatusCode.UNAVAILABLE: "Is the platform running? `parley status` says which part is not.",
    grpc.StatusCode.UNAUTHENTICATED: "Log in with `parley login`, or send an API key.",
}

RESET = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})
"""What gRPC makes of a stream that was reset."""


@dataclass(frozen=True)
class Violation:
    """A field of the request that broke its rule."""

    field: str
    description: str


@dataclass
class ParleyError(Exception):
    """A call that did not end well.

    Attributes:
        code: The canonical status code.
        message: What went wrong, for people.
        reason: The machine-readable reason, without its `ERROR_REASON_` prefix;
            empty when the answer did not come from Parley.
        domain: Who gives the reason, for example `inference.parley`.
        metadata: What the reason is about, for example `{"model": "x"}`.
        retry_after: How long to wait before trying again, where the answer says so.
        violations: The fields that broke their rules.
    """

    code: grpc.StatusCode
    message: str
    reason: str = ""
    domain: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    retry_after: timedelta | None = None
    violations: tuple[Violation, ...] = ()

    def __post_init__(self) -> None:
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.reason or self.code.name}: {self.message}"

    @property
    def hint(self) -> str:
        """What to do about it, in a sentence; empty where there is nothing to say."""
        if self.violations:
            return "; ".join(f"{v.field}: {v.description}" for v in self.violations)
        if self.retry_after is not None:
            return f"Try again in {self.retry_after.total_seconds():g} s."
        return _HINTS.get(self.reason) or _CODE_HINTS.get(self.code, "")


def from_rpc_error(error: grpc.aio.AioRpcError) -> ParleyError:
    """Reads the typed error out of a failed call."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return from_status(status_pb2.Status.FromString(value))
            except DecodeError:
                break
    return ParleyError(error.code(), error.details() or "the connection failed")


def broken_off(trouble: ParleyError) -> ParleyError:
    """What a stream that had begun failed with, told as what it is.

    A service says why it ends a stream. Where nobody does, something on the
    way went: the edge resets what a lost replica leaves (decision 0043), which
    gRPC calls INTERNAL or UNKNOWN, as if the platform had failed by a fault.
    """
    if trouble.reason or trouble.code not in RESET:
        return trouble
    return ParleyError(
        grpc.StatusCode.UNAVAILABLE, "The answer broke off on its way. What came of it stands."
    )


def from_status(status: status_pb2.Status) -> ParleyError:
    """Reads the typed error out of a google.rpc.Status, as events carry it."""
    error = ParleyError(_code(status.code), status.message)
    for detail in status.details:
        _read(error, detail)
    return error


def _code(number: int) -> grpc.StatusCode:
    """The status code of a number; UNKNOWN for one that gRPC does not define."""
    return next((code for code in grpc.StatusCode if code.value[0] == number), grpc.StatusCode.UNKNOWN)


def _read(error: ParleyError, detail: any_pb2.Any) -> None:
    """Takes over one google.rpc detail; kinds that are not known are left out."""
    info, retry, bad = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.RetryInfo(),
        error_details_pb2.BadRequest(),
    )
    if detail.Unpack(info):
        error.reason, error.domain, error.metadata = info.reason, info.domain, dict(info.metadata)
    elif detail.Unpack(retry):
        error.retry_after = retry.retry_delay.ToTimedelta()
    elif detail.Unpack(bad):
        error.violations = tuple(Violation(v.field, v.description) for v in bad.field_violations)
