"""What the edge is told."""

from __future__ import annotations

import hashlib
import ipaddress
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field, model_validator

from services.rpc.settings import TracingSettings, settings_config

UNIX = "unix:"
EDGE = "edge"
"""The edge's own name in the mesh."""


class Endpoint(NamedTuple):
    """A TCP address."""

    host: str
    port: int


def endpoint(address: str) -> Endpoint:
    """Read `host:port`; IPv6 addresses stand in brackets.

    Raises:
        ValueError: It is no such thing.
    """
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{address!r} is not host:port")
    return Endpoint(host, int(port))


def is_ip(host: str) -> bool:
    """Whether the host is an address and needs no look-up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _address(value: str) -> str:
    endpoint(value)
    return value


def _admin_address(value: str) -> str:
    """The admin interface can stop Envoy and shows everything, so it stays on this machine."""
    if value and not value.startswith(UNIX):
        host = endpoint(value).host
        if not is_ip(host) or not ipaddress.ip_address(host).is_loopback:
            raise ValueError("must be empty, unix:PATH, or a loopback address with port")
    return value


def _origin(value: str) -> str:
    scheme, separator, host = value.partition("://")
    if scheme not in ("http", "https") or not separator or not host or "/" in host or "*" in host:
        raise ValueError("must be scheme://host[:port], without path or *")
    return value.lower()


Address = Annotated[str, AfterValidator(_address)]
Addresses = Annotated[list[Address], Field(min_length=1)]
Origin = Annotated[str, AfterValidator(_origin)]


class EdgeSettings(TracingSettings):
    """Where the edge listens, what stands behind it, and how much it lets in."""

    model_config = settings_config("PARLEY_EDGE_")

    listen_address: Address = Field("127.0.0.1:8443", description="host:port that callers reach, with TLS")
    public_names: list[str] = Field(
        ["localhost", "127.0.0.1", "[::1]"],
        description="host names under which browsers reach the page; they make its own origins",
    )
    public_port: int | None = Field(
        None, ge=1, le=65535, description="port that browsers name; the edge's own where unset"
    )
    allowed_origins: list[Origin] = Field([], description="further origins whose pages may call")

    tls_certificate_path: Path = Field(description="PEM chain of the edge's mesh certificate")
    tls_private_key_path: Path = Field(description="PEM private key of that certificate")
    tls_authority_path: Path = Field(description="PEM certificates of the mesh's authorities")
    public_certificate_path: Path | None = Field(
        None, description="PEM chain shown to callers; the mesh certificate where unset"
    )
    public_private_key_path: Path | None = Field(None, description="PEM private key of that certificate")
    trust_domain: str = Field("parley.local", description="SPIFFE trust domain of the mesh")

    auth_addresses: Addresses = Field(description="host:port of each auth replica")
    tools_addresses: Addresses = Field(description="host:port of each tools replica")
    models: dict[str, Addresses] = Field(
        min_length=1, description="served model name -> host:port of each inference replica of its pool"
    )
    default_model: str = Field("", description="pool for calls that name no model; the first where empty")
    web_address: Address | Literal[""] = Field("", description="host:port of the web page; empty: no page")

    token_issuer: str = Field("parley", description="the only issuer whose tokens are taken")
    token_audience: str = Field("parley", description="the audience that tokens must name")
    jwks_cache_seconds: int = Field(10, ge=1, le=86400, description="time between two fetches of the keys")
    key_check_seconds: float = Field(2, gt=0, le=60, description="time that auth has to exchange an API key")

    max_body_bytes: int = Field(16 * 2**20, ge=2**10, le=2**30, description="size of one request as JSON")
    max_connections: int = Field(10_000, ge=1, le=1_000_000, description="callers' connections at once")
    max_streams: int = Field(
        10_000, ge=1, le=1_000_000, description="calls at once to each cluster, and on one connection"
    )
    anonymous_burst: int = Field(
        100, ge=1, le=1_000_000, description="calls at once that need no token, of one address and method"
    )
    anonymous_calls_per_second: int = Field(
        20, ge=1, le=1_000_000, description="such calls of one address and method a second, in the long run"
    )
    unary_timeout_seconds: float = Field(60, gt=0, le=3600, description="time for a call without streams")
    idle_timeout_seconds: float = Field(
        3600, gt=0, le=86400, description="time that a stream or connection may be silent"
    )
    health_check_seconds: float = Field(1, gt=0, le=60, description="time between two probes of a replica")
    trusted_hops: int = Field(0, ge=0, le=8, description="proxies in front whose x-forwarded-for is believed")

    admin_address: Annotated[str, AfterValidator(_admin_address)] = Field(
        "", description="unix:PATH or loopback host:port of Envoy's admin interface; empty: none"
    )
    trace_callers: bool = Field(
        False,
        description="believe the traceparent that callers send: join their traces, and keep what they keep",
    )
    access_log_path: str = Field("/dev/stdout", description="file for the access log, a JSON object a line")

    @model_validator(mode="after")
    def _whole(self) -> EdgeSettings:
        if self.default_model and self.default_model not in self.models:
            raise ValueError(f"default_model {self.default_model!r} is not in models")
        for model in self.models:
            if (base := model.rpartition(":")[0]) in self.models:
                raise ValueError(f"models: {model!r} would be the name of an adapter of {base!r}")
        if self.otlp_endpoint.startswith("https:") and self.otlp_authority_path is None:
            raise ValueError("otlp_authority_path must be set for https: Envoy knows no authorities")
        if (self.public_certificate_path is None) != (self.public_private_key_path is None):
            raise ValueError("public_certificate_path and public_private_key_path go together")
        if self.mesh_name in (name.lower() for name in self.public_names):
            raise ValueError(f"public_names: {self.mesh_name} is where the page calls; choose another name")
        return self

    @property
    def mesh_name(self) -> str:
        """The edge's server name in the mesh, under which it lets nobody in but the page."""
        return f"{EDGE}.{self.trust_domain}".lower()

    @property
    def default_pool(self) -> str:
        """The model that answers calls which name none."""
        return self.default_model or next(iter(self.models))

    @property
    def jwks_address(self) -> str:
        """Where Envoy serves the signing keys to itself: an abstract Unix socket.

        It needs no port, no file and no short path, and one edge holds it per
        public address. A listener inside Envoy would not do: the keys are
        fetched on the main thread, from where such listeners are out of reach.
        """
        digest = hashlib.sha256(self.listen_address.encode()).hexdigest()[:16]
        return f"{UNIX}@parley-edge-jwks-{digest}"

    @property
    def origins(self) -> list[str]:
        """Every origin whose pages may call: the page's own and the allowed ones."""
        port = self.public_port or endpoint(self.listen_address).port
        suffix = "" if port == 443 else f":{port}"
        own = [f"https://{name}{suffix}".lower() for name in self.public_names]
        return sorted({*own, *self.allowed_origins})
