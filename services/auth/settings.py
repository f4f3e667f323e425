"""What the auth service is told, in `PARLEY_AUTH_*`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from services.auth.audit.keeper import KeepingRules
from services.auth.external.rules import Algorithm, IssuerRules, check_url
from services.auth.health import Replica, parse_replica
from services.auth.passwords import PasswordCost
from services.auth.sessions import SessionLife
from services.rpc.settings import ServiceSettings, settings_config
from services.sql.database import parse_url


class AuthSettings(ServiceSettings):
    """Settings of the auth service, beside those of every service."""

    model_config = settings_config("PARLEY_AUTH_")

    database_url: SecretStr = Field(
        description="sqlite+aiosqlite:///PATH or postgresql+asyncpg://…; a secret"
    )
    store_url: SecretStr = Field(
        SecretStr(""),
        description="redis:// URL of the store that counts usage; empty: no usage, no quotas; a secret",
    )
    data_path: Path = Field(
        description="folder of signing keys and the first admin's password; replicas share it"
    )
    observed: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="services whose health is answered here, each with its replicas as peer@host:port, or as"
        " peer@file:PATH of a file that has one host:port a line and is followed",
    )
    access_token_seconds: int = Field(900, ge=60, le=3600, description="life of an access token")
    run_token_seconds: int = Field(
        3600, ge=60, le=86400, description="longest life of a token for a run that outlives its caller's"
    )
    refresh_token_seconds: int = Field(
        7 * 86400, ge=60, le=365 * 86400, description="life of a refresh token"
    )
    session_seconds: int = Field(
        30 * 86400, ge=60, le=365 * 86400, description="life of a login, refreshed or not"
    )
    oidc_issuer: str = Field(
        "", max_length=255, description="URL of the outside issuer whose users may log in; empty: none"
    )
    oidc_audience: str = Field("", max_length=256, description="the client id that it knows Parley by")
    oidc_jwks_url: str = Field("", description="where its keys are; empty: where its discovery document says")
    oidc_algorithms: tuple[Algorithm, ...] = Field(
        ("RS256", "ES256"), min_length=1, description="the only algorithms that its signatures may have"
    )
    oidc_role_claim: str = Field(
        "roles", min_length=1, description="claim that says what its users are; a dot leads into an object"
    )
    oidc_roles: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="the roles that a value of that claim stands for, as JSON"
    )
    oidc_tenant: str = Field("default", description="name of the tenant that its users belong to")
    oidc_leeway_seconds: float = Field(
        10, ge=0, le=300, description="how far its clock may be from this machine's"
    )
    oidc_session_seconds: int = Field(
        12 * 3600, ge=60, le=365 * 86400, description="after this its users log in again there"
    )
    oidc_authority_path: Path | None = Field(
        None, description="PEM certificates that its server is trusted by; unset: the system's"
    )
    signing_key_days: int = Field(30, ge=1, le=3650, description="age at which a signing key is replaced")
    audit_checkpoint_path: Path | None = Field(
        None,
        description="file of the audit's signed checkpoints; unset: audit-checkpoints in the data folder",
    )
    audit_checkpoint_records: int = Field(
        1000, ge=1, le=1_000_000, description="audit records after which a checkpoint is signed at the latest"
    )
    audit_checkpoint_seconds: float = Field(
        60,
        gt=0,
        le=86400,
        description="time after an audit record until a checkpoint is signed at the latest",
    )
    audit_retention_days: int = Field(
        0, ge=0, le=36500, description="age at which audit records are deleted; 0: never"
    )
    password_time_cost: int = Field(3, ge=1, le=100, description="argon2 passes over the memory")
    password_memory_kib: int = Field(65_536, ge=8, le=2**22, description="argon2 memory of one hash, in KiB")
    password_lanes: int = Field(2, ge=1, le=64, description="argon2 threads of one hash")
    password_workers: int = Field(2, ge=1, le=64, description="passwords hashed at once")

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: SecretStr) -> SecretStr:
        parse_url(value.get_secret_value())
        return value

    @field_validator("observed")
    @classmethod
    def _well_formed(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for text in (text for replicas in value.values() for text in replicas):
            parse_replica(text)
        return value

    @property
    def replicas(self) -> dict[str, tuple[Replica, ...]]:
        """The observed services with their replicas."""
        return {name: tuple(map(parse_replica, replicas)) for name, replicas in self.observed.items()}

    @field_validator("oidc_issuer", "oidc_jwks_url")
    @classmethod
    def _trustworthy(cls, value: str) -> str:
        return check_url(value) if value else value

    @model_validator(mode="after")
    def _whole_oidc(self) -> Self:
        if self.oidc_issuer and not (self.oidc_audience and self.oidc_roles):
            raise ValueError("an outside issuer needs oidc_audience and oidc_roles too")
        return self

    @property
    def oidc(self) -> IssuerRules | None:
        """The outside issuer that is trusted; None where there is none."""
        if not self.oidc_issuer:
            return None
        return IssuerRules(
            issuer=self.oidc_issuer,
            audience=self.oidc_audience,
            tenant=self.oidc_tenant,
            roles=self.oidc_roles,
            jwks_url=self.oidc_jwks_url,
            algorithms=self.oidc_algorithms,
            role_claim=self.oidc_role_claim,
            leeway=timedelta(seconds=self.oidc_leeway_seconds),
            session_life=timedelta(seconds=self.oidc_session_seconds),
            authority=self.oidc_authority_path,
        )

    @property
    def access_token_life(self) -> timedelta:
        """How long an access token is good for."""
        return timedelta(seconds=self.access_token_seconds)

    @property
    def run_token_life(self) -> timedelta:
        """How long a token for a run may be good for."""
        return timedelta(seconds=self.run_token_seconds)

    @property
    def longest_token_life(self) -> timedelta:
        """After this no token is good any more, whatever it was made for."""
        return max(self.access_token_life, self.run_token_life)

    @property
    def checkpoint_path(self) -> Path:
        """Where the audit's signed checkpoints lie."""
        return self.audit_checkpoint_path or self.data_path / "audit-checkpoints"

    @property
    def keeping_rules(self) -> KeepingRules:
        """How the audit is looked after."""
        days = self.audit_retention_days
        return KeepingRules(
            self.audit_checkpoint_records,
            self.audit_checkpoint_seconds,
            timedelta(days=days) if days else None,
        )

    @property
    def session_life(self) -> SessionLife:
        """How long sessions last."""
        return SessionLife(
            timedelta(seconds=self.refresh_token_seconds), timedelta(seconds=self.session_seconds)
        )

    @property
    def password_cost(self) -> PasswordCost:
        """What one password hash costs."""
        return PasswordCost(
            self.password_time_cost, self.password_memory_kib, self.password_lanes, self.password_workers
        )
