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


class ExternalTokenInvalid(AuthError):
    """The outside issuer's token is not one that is taken here."""

    reason = error_reason_pb2.ERROR_REASON_EXTERNAL_TOKEN_INVALID

    def __init__(self) -> None:
        super().__init__("The token is not a good one of the issuer that is trusted here: get a new one.")


class ExternalUserRefused(AuthError):
    """The outside issuer's user may do nothing here."""

    reason = error_reason_pb2.ERROR_REASON_EXTERNAL_USER_REFUSED

    def __init__(self) -> None:
        super().__init__("You are known, but have no role here or are disabled: ask an administrator.")


class ExternalLoginOff(AuthError):
    """No outside issuer is trusted here."""

    reason = error_reason_pb2.ERROR_REASON_EXTERNAL_LOGIN_OFF

    def __init__(self) -> None:
        super().__init__("This deployment trusts no outside issuer: log in with a password.")


class LoginThrottled(AuthError):
    """Too many logins failed, or were tried at once, for this user or from this address."""

    reason = error_reason_pb2.ERROR_REASON_LOGIN_THROTTLED

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__(
            "Too many logins failed, or were tried at once: wait before the next.", retry_after=retry_after
        )


class UserNotFound(AuthError):
    """The caller's tenant has no user with this id."""

    reason = error_reason_pb2.ERROR_REASON_USER_NOT_FOUND

    def __init__(self, user_id: str) -> None:
        super().__init__(f"There is no user with the id {user_id}.", metadata={"user_id": user_id})


class TenantNotFound(AuthError):
    """No tenant that the caller may know of has this id."""

    reason = error_reason_pb2.ERROR_REASON_TENANT_NOT_FOUND

    def __init__(self, tenant_id: str) -> None:
        super().__init__(f"There is no tenant with the id {tenant_id}.", metadata={"tenant_id": tenant_id})


class RoleNotFound(AuthError):
    """The caller's tenant has no role of this name."""

    reason = error_reason_pb2.ERROR_REASON_ROLE_NOT_FOUND

    def __init__(self, role: str) -> None:
        super().__init__(f"There is no role {role}.", metadata={"role": role})


class SessionNotFound(AuthError):
    """No session that lives and that the caller may end has this id."""

    reason = error_reason_pb2.ERROR_REASON_SESSION_NOT_FOUND

    def __init__(self, session_id: str) -> None:
        super().__init__(
            f"There is no live session with the id {session_id}.", metadata={"session_id": session_id}
        )


class GrantExceedsCaller(AuthError):
    """A change concerns a permission that the caller does not hold."""

    reason = error_reason_pb2.ERROR_REASON_GRANT_EXCEEDS_CALLER

    def __init__(self, permission: str) -> None:
        super().__init__(
            f"This concerns {permission}, which goes beyond what you may do.",
            metadata={"permission": permission},
        )


class LastAdmin(AuthError):
    """The tenant would be left without an administrator."""

    reason = error_reason_pb2.ERROR_REASON_LAST_ADMIN

    def __init__(self, user_id: str) -> None:
        super().__init__(
            "The tenant would be left without an administrator: make another one first.",
            metadata={"user_id": user_id},
        )


class NameTaken(AuthError):
    """The name is taken."""

    reason = error_reason_pb2.ERROR_REASON_NAME_TAKEN

    def __init__(self, name: str) -> None:
        super().__init__(f"The name {name} is taken: choose another.", metadata={"name": name})


class RoleBuiltIn(AuthError):
    """A built-in role cannot be changed."""

    reason = error_reason_pb2.ERROR_REASON_ROLE_BUILT_IN

    def __init__(self, role: str) -> None:
        super().__init__(f"The role {role} is built in: make one of your own.", metadata={"role": role})


class RoleInUse(AuthError):
    """Someone still has the role."""

    reason = error_reason_pb2.ERROR_REASON_ROLE_IN_USE

    def __init__(self, role: str) -> None:
        super().__init__(
            f"Users still have the role {role}: take it from them first.", metadata={"role": role}
        )


class EtagMismatch(AuthError):
    """The resource changed since the state that the update is based on."""

    reason = error_reason_pb2.ERROR_REASON_ETAG_MISMATCH

    def __init__(self, etag: str) -> None:
        super().__init__("It was changed meanwhile: read it again.", metadata={"etag": etag})


class RootTenantOnly(AuthError):
    """Only users of the root tenant may do this."""

    reason = error_reason_pb2.ERROR_REASON_ROOT_TENANT_ONLY

    def __init__(self) -> None:
        super().__init__("Only users of the root tenant may do this.")


class RootTenantProtected(AuthError):
    """The root tenant cannot be disabled."""

    reason = error_reason_pb2.ERROR_REASON_ROOT_TENANT_PROTECTED

    def __init__(self, tenant_id: str) -> None:
        super().__init__("The root tenant cannot be disabled.", metadata={"tenant_id": tenant_id})


class KeyAddressNotAllowed(AuthError):
    """The API key is good, but not from this address."""

    reason = error_reason_pb2.ERROR_REASON_KEY_ADDRESS_NOT_ALLOWED

    def __init__(self, address: str) -> None:
        super().__init__(
            f"The API key may not be used from {address or 'an unknown address'}.",
            metadata={"address": address},
        )


class SessionRequired(AuthError):
    """The method needs the token of a login."""

    reason = error_reason_pb2.ERROR_REASON_SESSION_REQUIRED

    def __init__(self) -> None:
        super().__init__("This needs a login; an API key has no session.")


class UserNotPerson(AuthError):
    """A service account has no password."""

    reason = error_reason_pb2.ERROR_REASON_USER_NOT_PERSON

    def __init__(self, user_id: str) -> None:
        super().__init__(
            "A service account has no password: give it an API key.", metadata={"user_id": user_id}
        )


class KeyOwnerNotService(AuthError):
    """Keys are made for oneself or for a service account."""

    reason = error_reason_pb2.ERROR_REASON_KEY_OWNER_NOT_SERVICE

    def __init__(self, user_id: str) -> None:
        super().__init__(
            "Keys are made for yourself or for a service account, not for another person.",
            metadata={"user_id": user_id},
        )


class PasswordWrong(AuthError):
    """The present password is another one."""

    reason = error_reason_pb2.ERROR_REASON_PASSWORD_WRONG

    def __init__(self) -> None:
        super().__init__("The present password is another one.")


class KeyNotLive(AuthError):
    """The API key is revoked or over, so that nothing can follow it."""

    reason = error_reason_pb2.ERROR_REASON_KEY_NOT_LIVE

    def __init__(self, key_id: str) -> None:
        super().__init__("The key is revoked or over: make a new one.", metadata={"key_id": key_id})


class QuotaNotFound(AuthError):
    """The subject has no quota."""

    reason = error_reason_pb2.ERROR_REASON_QUOTA_NOT_FOUND

    def __init__(self, subject: str) -> None:
        super().__init__(f"{subject} has no quota.", metadata={"subject": subject})


class QuotaSubjectNotFound(AuthError):
    """The tenant has no such user, key or role."""

    reason = error_reason_pb2.ERROR_REASON_QUOTA_SUBJECT_NOT_FOUND

    def __init__(self, subject: str) -> None:
        super().__init__(f"The tenant has no {subject}.", metadata={"subject": subject})
