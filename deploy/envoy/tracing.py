"""The edge's part of each trace: it begins there, and goes on in the service that answers.

Spans go to the same kind of collector as those of the services, and like those they carry no
content: paths lose their query, into which callers put tokens.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from deploy.envoy.settings import EdgeSettings
from deploy.envoy.tls import TLS
from deploy.envoy.tree import Tree, extension, seconds, typed

COLLECTOR = "collector"
SERVICE = "parley-edge"
EXPORT_SECONDS = 5
# What W3C Trace Context and Baggage carry. From callers outside it would let them choose what is kept.
TRACE_HEADERS = ("traceparent", "tracestate", "baggage")


def traced(settings: EdgeSettings) -> Tree:
    """The connection manager's tracing; empty where no collector is set."""
    if not settings.otlp_endpoint:
        return {}
    provider = extension(
        "envoy.tracers.opentelemetry",
        "envoy.config.trace.v3.OpenTelemetryConfig",
        grpc_service={"envoy_grpc": {"cluster_name": COLLECTOR}, "timeout": seconds(EXPORT_SECONDS)},
        service_name=SERVICE,
    )
    return {
        "tracing": {
            "provider": provider,
            "random_sampling": {"value": settings.trace_ratio * 100},
            # Envoy tells the whole URL, query included: of the path it may tell nothing but this.
            "max_path_tag_length": 0,
            "custom_tags": [{"tag": "url.path", "value": "%PATH(NQ:ORIG_OR_PATH):256%"}],
        }
    }


def untrusted_headers(settings: EdgeSettings) -> tuple[str, ...]:
    """The headers that are taken off callers' requests."""
    return () if settings.trace_callers else TRACE_HEADERS


def collector(settings: EdgeSettings) -> list[Tree]:
    """The cluster of the collector, if one is set."""
    if not settings.otlp_endpoint:
        return []
    host, port = _host_and_port(settings)
    message = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    address = {"socket_address": {"address": host, "port_value": port}}
    cluster: Tree = {
        "name": COLLECTOR,
        "type": "STRICT_DNS",
        "connect_timeout": "2s",
        "load_assignment": {
            "cluster_name": COLLECTOR,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "typed_extension_protocol_options": {
            message: typed(message, explicit_http_config={"http2_protocol_options": {}})
        },
    }
    if urlsplit(settings.otlp_endpoint).scheme == "https":
        cluster["transport_socket"] = _tls(settings, host)
    return [cluster]


def _host_and_port(settings: EdgeSettings) -> tuple[str, int]:
    """Both are there: the settings take no other endpoint."""
    parts = urlsplit(settings.otlp_endpoint)
    return parts.hostname or "", parts.port or 0


def _tls(settings: EdgeSettings, host: str) -> Tree:
    """The collector must show a certificate for its name."""
    authority = (settings.otlp_authority_path or Path()).absolute()  # which the settings ask for
    names = [{"san_type": kind, "matcher": {"exact": host}} for kind in ("DNS", "IP_ADDRESS")]
    return extension(
        "envoy.transport_sockets.tls",
        f"{TLS}.UpstreamTlsContext",
        sni=host,
        common_tls_context={
            "alpn_protocols": ["h2"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "validation_context": {
                "trusted_ca": {"filename": str(authority)},
                "match_typed_subject_alt_names": names,
            },
        },
    )
