"""Settings from the environment, checked once at start."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.rpc.secret_files import SecretFilesUnusable, secret_files, secrets_folder
from services.rpc.tenant_classes import TenantClasses
from services.rpc.tls import TlsFiles

S = TypeVar("S", bound=BaseSettings)


class SettingsError(Exception):
    """The environment does not make valid settings; the message has a line per fault."""


def _collector(endpoint: str) -> str:
    """Accept `http://host:port` and `https://host:port`, without anything behind."""
    parts = urlsplit(endpoint)
    whole = f"{parts.scheme}://{parts.netloc}"
    if endpoint and (
        parts.scheme not in ("http", "https") or not parts.hostname or not parts.port or endpoint != whole
    ):
        raise ValueError("must be empty, http://host:port or https://host:port")
    if parts.username is not None:
        raise ValueError("must hold no credentials: set OTEL_EXPORTER_OTLP_HEADERS instead")
    return endpoint


class TracingSettings(BaseSettings):
    """Where spans go, and how many."""

    otlp_endpoint: Annotated[str, AfterValidator(_collector)] = Field(
        "",
        description="http://host:port (in the clear) or https://host:port of an OpenTelemetry collector that"
        " takes OTLP over gRPC; empty: nothing is traced",
    )
    otlp_authority_path: Path | None = Field(
        None, description="PEM certificates that an https collector is checked against; unset: the system's"
    )
    trace_ratio: float = Field(
        0.1, ge=0, le=1, description="share of the calls traced, of those for which no caller decided it"
    )


class ServiceSettings(TracingSettings):
    """What every service is told."""

    listen_address: str = Field("127.0.0.1:0", description="host:port to serve gRPC on; port 0 picks one")
    tls_certificate_path: Path = Field(description="PEM chain of this service's mesh certificate")
    tls_private_key_path: Path = Field(description="PEM private key of that certificate")
    tls_authority_path: Path = Field(description="PEM certificates of the mesh's authorities")
    trust_domain: str = Field("parley.local", description="SPIFFE trust domain of the mesh")
    metrics_address: str = Field("", description="host:port to serve Prometheus metrics on; empty: nowhere")
    tenant_classes: TenantClasses = Field(
        default_factory=dict,
        description="JSON: classes of tenants by the tenants' ids, which metrics tell apart; others: default",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level logged")
    drain_seconds: float = Field(2.5, ge=0, le=600, description="from NOT_SERVING to refusing new calls")
    grace_seconds: float = Field(10, ge=0, le=3600, description="time that running calls have to end")
    unary_deadline_seconds: float = Field(
        30, gt=0, le=3600, description="time for a unary call whose client set no deadline"
    )
    max_concurrent_calls: int = Field(4096, ge=1, le=1_000_000, description="calls served at once")
    max_message_bytes: int = Field(16 * 2**20, ge=2**10, le=2**30, description="size of one message")
    audit_queue: int = Field(8192, ge=1, le=1_000_000, description="audit events that may wait to be written")
    audit_when_full: Literal["count", "refuse"] = Field(
        "count", description="when more wait: count and drop them, or refuse calls until they are written"
    )
    audit_content: Literal["digest", "full"] = Field(
        "digest", description="what the audit keeps of prompts and arguments: a SHA-256 digest, or all of it"
    )
    token_issuer: str = Field("parley", description="the only issuer whose tokens are taken")
    token_audience: str = Field("parley", description="the audience that tokens must name")

    @property
    def tls(self) -> TlsFiles:
        """The files of this service's mesh identity."""
        return TlsFiles(self.tls_certificate_path, self.tls_private_key_path, self.tls_authority_path)


def settings_config(prefix: str) -> SettingsConfigDict:
    """How a settings class reads the environment; `prefix` is like `PARLEY_AUTH_`."""
    return SettingsConfigDict(env_prefix=prefix, extra="forbid", frozen=True, hide_input_in_errors=True)


def load(settings: type[S]) -> S:
    """Read settings from the environment, and those that are secret from files where it names their folder.

    Raises:
        SettingsError: A variable is unknown, missing or out of range, or a file cannot be read.
    """
    prefix = str(settings.model_config.get("env_prefix", ""))
    try:
        folder = secrets_folder(os.environ)
        files = secret_files(folder, prefix) if folder else []
    except SecretFilesUnusable as error:
        raise SettingsError(str(error)) from None
    faults = unknown_variables(prefix, settings.model_fields, [*os.environ, *files])
    faults += _told_twice(files)
    if faults:
        raise SettingsError("\n".join(faults))
    try:
        return settings(_secrets_dir=folder)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(prefix, error))) from None


def _told_twice(files: Sequence[str]) -> list[str]:
    """A line for each setting that has both a file and a variable: nobody should guess which counts."""
    given = {name.upper() for name in os.environ}
    return [f"{name.upper()} has both a file and a variable" for name in files if name.upper() in given]


def unknown_variables(prefix: str, fields: Iterable[str], environment: Iterable[str]) -> list[str]:
    """A line for each variable with the prefix that is no setting, with the nearest name."""
    known = {f"{prefix}{name}".upper() for name in fields}
    lines = []
    for name in sorted(environment):
        if name.upper().startswith(prefix) and name.upper() not in known:
            nearest = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.0)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            lines.append(f"{name} is not a setting{hint}")
    return lines


def _explain(prefix: str, error: ValidationError) -> list[str]:
    """A line per fault, without the value, which may be a secret."""
    return [
        f"{prefix}{'.'.join(str(part) for part in fault['loc'])}".upper() + f": {fault['msg']}"
        for fault in error.errors(include_input=False, include_url=False)
    ]
