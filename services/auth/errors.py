"""What the auth service refuses with, and what keeps it from starting."""

from __future__ import annotations

from datetime import timedelta

from parley.auth.v1 import error_reason_pb2
from services.rpc.errors import ServiceError


class StartError(Exception):
    """The service cannot start; the message is one line that says why and what to do."""


class AuthError(ServiceError):
    """An error of the domain `auth.parley`."""

    reasons = error_reason_pb2.ErrorReason


class CredentialsInvalid(AuthError):
    """The user is unknown or disabled, or the password is wrong; which is not told."""

    reason = error_reason_pb2.ERROR_REASON_CREDENTIALS_INVALID

    def __init__(self) -> None:
        super().__init__("The user name or the password is wrong, or the user is disabled.")


class RefreshTokenInvalid(AuthError):
    """The refresh token is unknown, over, or was used before."""

    reason = error_reason_pb2.ERROR_REASON_REFRESH_TOKEN_INVALID

    def __init__(self) -> None:
        super().__init__("The refresh token is over or was used before: log in again.")


class KeyInvalid(AuthError):
    """The API key is unknown, revoked or over; which is not told."""

    reason = error_reason_pb2.ERROR_REASON_KEY_INVALID

    def __init__(self) -> None:
        super().__init__("The API key is unknown, revoked or over: make a new one.")


class KeyNotFound(AuthError):
    """No key of the caller has this id."""

    reason = error_reason_pb2.ERROR_REASON_KEY_NOT_FOUND

    def __init__(self, key_id: str) -> None:
        super().__init__(f"You have no API key with the id {key_id}.", metadata={"key_id": key_id})


class ScopeExceedsOwner(AuthError):
    """A key would permit more than the caller may."""

    reason = error_reason_pb2.ERROR_REASON_SCOPE_EXCEEDS_OWNER

    def __init__(self, permission: str) -> None:
        super().__init__(
            f"A key cannot permit {permission}: it goes beyond what you may do.",
            metadata={"permission": permission},
        )


class RequestIdReused(AuthError):
    """A request id was used before with another request."""

    reason = error_reason_pb2.ERROR_REASON_REQUEST_ID_REUSED

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"The request id {request_id} was used before with another request: use a new one.",
            metadata={"request_id": request_id},
        )


class LoginThrottled(AuthError):
    """Too many logins failed for this user or from this address."""

    reason = error_reason_pb2.ERROR_REASON_LOGIN_THROTTLED

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__("Too many logins failed: wait before the next.", retry_after=retry_after)
