"""What the database holds.

Everything belongs to a tenant, and the foreign keys carry the tenant along, so
that no row can refer to a row of another one.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    JSON,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    UniqueConstraint,
    and_,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, foreign, mapped_column, relationship

from services.sql.columns import NAMES, UtcTime

ULID_LENGTH = 26
NAME_LENGTH = 128
ROLE_LENGTH = 64
DESCRIPTION_LENGTH = 256
ADDRESS_LENGTH = 64
DIGEST_BYTES = 32


class Record(DeclarativeBase):
    """A row. Constraints have names, so that migrations can refer to them."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {datetime: UtcTime, bytes: LargeBinary(DIGEST_BYTES)}  # noqa: RUF012 - read by SQLAlchemy


class Tenant(Record):
    """An organisation; everything else belongs to one."""

    __tablename__ = "tenants"

    tenant_id: Mapped[str] = mapped_column(String(ULID_LENGTH), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH), unique=True)
    # The tenant of the first start, which manages the others.
    root: Mapped[bool] = mapped_column(default=False)
    create_time: Mapped[datetime]
    disable_time: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1)


class UserKind(StrEnum):
    """What a user is; the values are stored."""

    PERSON = "person"
    SERVICE = "service"


class User(Record):
    """Someone who logs in, or a program's account."""

    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("tenant_id", "user_id"),)

    user_id: Mapped[str] = mapped_column(String(ULID_LENGTH), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.tenant_id"))
    username: Mapped[str] = mapped_column(String(NAME_LENGTH))
    # The name as it is compared (services.auth.names); unique over all tenants, as a login names none.
    canonical_username: Mapped[str] = mapped_column(String(4 * NAME_LENGTH), unique=True)
    display_name: Mapped[str] = mapped_column(String(NAME_LENGTH), default="")
    kind: Mapped[str] = mapped_column(String(16), default=UserKind.PERSON)
    # None where there is none to log in with.
    password_hash: Mapped[str | None] = mapped_column(String(255))
    # A one-time password is good until this, and for nothing but to be changed; None for a chosen one.
    password_expire_time: Mapped[datetime | None]
    create_time: Mapped[datetime]
    disable_time: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1)

    tenant: Mapped[Tenant] = relationship(lazy="raise")
    roles: Mapped[list[UserRole]] = relationship(lazy="raise", cascade="all, delete-orphan")

    def active(self) -> bool:
        """Whether the user and the tenant may be used."""
        return self.disable_time is None and self.tenant.disable_time is None

    def must_change_password(self) -> bool:
        """Whether the password is a one-time password."""
        return self.password_expire_time is not None

    def may_log_in(self, now: datetime) -> bool:
        """Whether the right password lets the user in."""
        over = self.password_expire_time is not None and now >= self.password_expire_time
        return self.active() and not over

    def role_names(self) -> tuple[str, ...]:
        """The user's roles, sorted."""
        return tuple(sorted(role.role for role in self.roles))


class Role(Record):
    """A role that a tenant made beside the built-in ones."""

    __tablename__ = "roles"

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.tenant_id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(ROLE_LENGTH), primary_key=True)
    description: Mapped[str] = mapped_column(String(DESCRIPTION_LENGTH))
    permissions: Mapped[list[str]] = mapped_column(JSON)
    create_time: Mapped[datetime]
    version: Mapped[int] = mapped_column(default=1)


class UserRole(Record):
    """A role that a user has."""

    __tablename__ = "user_roles"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.user_id"], ondelete="CASCADE"
        ),
    )

    user_id: Mapped[str] = mapped_column(String(ULID_LENGTH), primary_key=True)
    role: Mapped[str] = mapped_column(String(ROLE_LENGTH), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(ULID_LENGTH))

    # The tenant's role of this name; None for a built-in one.
    custom: Mapped[Role | None] = relationship(
        lazy="raise",
        viewonly=True,
        primaryjoin=lambda: and_(UserRole.tenant_id == Role.tenant_id, foreign(UserRole.role) == Role.name),
    )


class LoginSession(Record):
    """What one login began: a family of refresh tokens that ends as a whole."""

    __tablename__ = "sessions"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.user_id"], ondelete="CASCADE"
        ),
        UniqueConstraint("tenant_id", "session_id"),
        Index(None, "tenant_id", "user_id"),
    )

    session_id: Mapped[str] = mapped_column(String(ULID_LENGTH), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(ULID_LENGTH))
    user_id: Mapped[str] = mapped_column(String(ULID_LENGTH))
    create_time: Mapped[datetime]
    # The session ends here however often it is refreshed.
    expire_time: Mapped[datetime] = mapped_column(index=True)
    end_time: Mapped[datetime | None]
    # None until it is refreshed.
    last_use_time: Mapped[datetime | None]
    # The IP address that it was begun from.
    address: Mapped[str] = mapped_column(String(ADDRESS_LENGTH), default="")

    user: Mapped[User] = relationship(lazy="raise")


class RefreshToken(Record):
    """A refresh token's digest. Used ones stay until the session ends, to notice reuse."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "session_id"], ["sessions.tenant_id", "sessions.session_id"], ondelete="CASCADE"
        ),
        Index(None, "tenant_id", "session_id"),
    )

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(ULID_LENGTH))
    session_id: Mapped[str] = mapped_column(String(ULID_LENGTH))
    create_time: Mapped[datetime]
    expire_time: Mapped[datetime]
    use_time: Mapped[datetime | None]

    session: Mapped[LoginSession] = relationship(lazy="raise")


class ApiKey(Record):
    """An API key, without its secret."""

    __tablename__ = "api_keys"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.user_id"], ondelete="CASCADE"
        ),
        # Keys are listed by owner, newest first; ULIDs sort by time.
        Index(None, "tenant_id", "user_id", "key_id"),
        # Or the whole tenant's.
        Index(None, "tenant_id", "key_id"),
    )

    key_id: Mapped[str] = mapped_column(String(ULID_LENGTH), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(ULID_LENGTH))
    user_id: Mapped[str] = mapped_column(String(ULID_LENGTH))
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    prefix: Mapped[str] = mapped_column(String(32), unique=True)
    digest: Mapped[bytes]
    # Empty means all that the owner may.
    scopes: Mapped[list[str]] = mapped_column(JSON)
    create_time: Mapped[datetime]
    expire_time: Mapped[datetime | None]
    last_use_time: Mapped[datetime | None]
    revoke_time: Mapped[datetime | None]
    # Networks in CIDR notation; empty means anywhere.
    allowed_addresses: Mapped[list[str]] = mapped_column(JSON, default=list)
    replaces_key_id: Mapped[str | None] = mapped_column(String(ULID_LENGTH))

    user: Mapped[User] = relationship(lazy="raise")

    def live(self, now: datetime) -> bool:
        """Whether the key may be used."""
        return self.revoke_time is None and (self.expire_time is None or now < self.expire_time)


class ServedRequest(Record):
    """A request that carried a request id, and what it made (AIP-155)."""

    __tablename__ = "served_requests"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.user_id"], ondelete="CASCADE"
        ),
    )

    user_id: Mapped[str] = mapped_column(String(ULID_LENGTH), primary_key=True)
    request_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(ULID_LENGTH))
    # Of the whole request, to notice another one under the same id.
    fingerprint: Mapped[bytes]
    # The id of what was made.
    resource_id: Mapped[str] = mapped_column(String(ROLE_LENGTH))
    create_time: Mapped[datetime] = mapped_column(index=True)


class LoginAttempt(Record):
    """Failed logins of a user name or from an address.

    The one table without a tenant: who fails to log in belongs to none.
    """

    __tablename__ = "login_attempts"

    # Digest of what is counted: a name may be a password typed into the wrong field.
    subject: Mapped[bytes] = mapped_column(primary_key=True)
    failures: Mapped[int] = mapped_column(Integer)
    last_time: Mapped[datetime] = mapped_column(index=True)
    blocked_until: Mapped[datetime | None]
