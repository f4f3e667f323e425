"""Settings of the page's server, from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings

from services.rpc.settings import settings_config
from services.rpc.tls import TlsFiles


class WebSettings(BaseSettings):
    """What the page's server is told."""

    model_config = settings_config("PARLEY_WEB_")

    listen_address: str = Field("127.0.0.1:0", description="host:port to serve the page on; port 0 picks one")
    edge_address: str = Field(description="host:port of the edge")
    edge_authority_path: Path | None = Field(
        None,
        description="PEM certificates of the edge's authority, for a page without a mesh certificate; "
        "unset: those that gRPC trusts by itself",
    )
    tls_certificate_path: Path | None = Field(
        None,
        description="PEM chain of this server's mesh certificate, also shown to the edge; "
        "unset: plain HTTP, for loopback only",
    )
    tls_private_key_path: Path | None = Field(None, description="PEM private key of that certificate")
    tls_authority_path: Path | None = Field(None, description="PEM certificates of the mesh's authorities")
    trust_domain: str = Field("parley.local", description="SPIFFE trust domain of the mesh")
    max_sessions: int = Field(
        1000, ge=1, le=100_000, description="logins held at once; the longest unused is let go"
    )
    session_idle_seconds: float = Field(
        8 * 3600, gt=0, le=30 * 86400, description="time after which an unused login is let go"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level logged")
    grace_seconds: int = Field(2, ge=0, le=3600, description="time that open requests have to end at a stop")

    @field_validator("listen_address")
    @classmethod
    def _has_a_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal():
            raise ValueError("must be host:port")
        return value

    @property
    def tls(self) -> TlsFiles | None:
        """The files of this server's mesh identity; None for plain HTTP."""
        paths = (self.tls_certificate_path, self.tls_private_key_path, self.tls_authority_path)
        certificate, private_key, authority = paths
        if certificate is None or private_key is None or authority is None:
            return None
        return TlsFiles(certificate, private_key, authority)

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        paths = (self.tls_certificate_path, self.tls_private_key_path, self.tls_authority_path)
        if any(paths) and not all(paths):
            raise ValueError("set the certificate, the private key and the authority, or none of them")
        return self
