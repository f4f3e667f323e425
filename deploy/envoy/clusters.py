"""What stands behind the edge: a cluster per service, and one per model pool."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.envoy.endpoints import EndpointFiles, assignment, is_fixed, pool
from deploy.envoy.settings import EdgeSettings
from deploy.envoy.tls import SecretFiles, upstream
from deploy.envoy.tracing import collector
from deploy.envoy.tree import Tree, seconds, typed

WEB = "web"
JWKS = "jwks"
WINDOW_BYTES = 2**20


def affine(model: str) -> str:
    """The cluster of the same replicas where a conversation keeps its own."""
    return f"{pool(model)}-affine"


def clusters(settings: EdgeSettings, files: SecretFiles, endpoints: EndpointFiles) -> list[Tree]:
    """Every cluster of the edge."""
    made = [
        _service("auth", "auth", settings.auth_addresses, settings, files),
        _service("tools", "tools", settings.tools_addresses, settings, files),
    ]
    for model in settings.models:
        made.append(_pool(pool(model), model, settings, files, endpoints))
        made.append({**_pool(affine(model), model, settings, files, endpoints), **_by_hash()})
    if settings.web_address:
        made.append(_web(settings, files))
    return [*made, _jwks(settings), *collector(settings)]


def _pool(
    name: str, model: str, settings: EdgeSettings, files: SecretFiles, endpoints: EndpointFiles
) -> Tree:
    """The replicas of a model, which may change while Envoy runs."""
    addresses = settings.models[model]
    cluster = _service(name, "inference", addresses, settings, files)
    if is_fixed(addresses):
        del cluster["load_assignment"]
        cluster |= endpoints.followed(model)
    return cluster


def _service(
    name: str, service: str, addresses: Sequence[str], settings: EdgeSettings, files: SecretFiles
) -> Tree:
    """A gRPC service over mutual TLS."""
    return {
        **_named(name, addresses),
        "connect_timeout": "2s",
        "lb_policy": "LEAST_REQUEST",
        # With no healthy replica an answer at once is better than a call to a dead one.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "per_connection_buffer_limit_bytes": WINDOW_BYTES,
        "transport_socket": upstream(files, service, settings.trust_domain),
        "typed_extension_protocol_options": _http2(settings),
        "circuit_breakers": _circuit_breakers(settings),
        "health_checks": [_health_check(settings)],
        "outlier_detection": _outlier_detection(),
    }


def _by_hash() -> Tree:
    """Maps a conversation to a replica, whose prefix cache holds it, and few to another where one leaves.

    One that has half as much again as the others have on average is passed over, so that popular
    conversations spread.
    """
    bound = {"hash_balance_factor": 150}
    panic = {"healthy_panic_threshold": {"value": 0}}
    return {
        "lb_policy": "MAGLEV",
        "common_lb_config": {**panic, "consistent_hashing_lb_config": bound},
    }


def _web(settings: EdgeSettings, files: SecretFiles) -> Tree:
    """The page's server: HTTP/1.1 over mutual TLS."""
    return {
        **_named(WEB, [settings.web_address]),
        "connect_timeout": "2s",
        "lb_policy": "ROUND_ROBIN",
        "transport_socket": upstream(files, WEB, settings.trust_domain, protocol="http/1.1"),
        "circuit_breakers": _circuit_breakers(settings),
    }


def _jwks(settings: EdgeSettings) -> Tree:
    """The listener of Envoy's own where the token check fetches the signing keys."""
    return {**_named(JWKS, [settings.jwks_address]), "connect_timeout": "2s"}


def _named(name: str, addresses: Sequence[str]) -> Tree:
    """A cluster's name and endpoints; host names are looked up again as they change."""
    return {
        "name": name,
        "type": "STATIC" if is_fixed(addresses) else "STRICT_DNS",
        "load_assignment": assignment(name, addresses),
    }


def _http2(settings: EdgeSettings) -> Tree:
    options = {
        "max_concurrent_streams": settings.max_streams,
        "initial_stream_window_size": WINDOW_BYTES,
        "initial_connection_window_size": 16 * WINDOW_BYTES,
        "connection_keepalive": {"interval": "10s", "timeout": "5s"},
    }
    message = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        message: typed(
            message,
            explicit_http_config={"http2_protocol_options": options},
            common_http_protocol_options={"idle_timeout": seconds(settings.idle_timeout_seconds)},
        )
    }


def _circuit_breakers(settings: EdgeSettings) -> Tree:
    """Envoy's own limits, 1,024 calls and 3 retries, cut in long before the streams we promise."""
    limits = {
        "max_connections": settings.max_streams,
        "max_pending_requests": settings.max_streams,
        "max_requests": settings.max_streams,
        "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 16},
        "track_remaining": True,
    }
    return {"thresholds": [{"priority": priority, **limits} for priority in ("DEFAULT", "HIGH")]}


def _health_check(settings: EdgeSettings) -> Tree:
    """Patient with a replica that is busy; one that is gone is noticed by its connection."""
    interval = seconds(settings.health_check_seconds)
    return {
        "timeout": "3s",
        "interval": interval,
        "no_traffic_interval": interval,
        "no_traffic_healthy_interval": interval,
        "unhealthy_threshold": 3,
        "healthy_threshold": 1,
        "always_log_health_check_failures": False,
        "grpc_health_check": {},
    }


def _outlier_detection() -> Tree:
    """Ejects a replica whose connection fails, for a short while.

    Only failures of the connection count: UNAVAILABLE or INTERNAL that a service
    answers by itself says something about the call.
    """
    return {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 3,
        "enforcing_consecutive_local_origin_failure": 100,
        "enforcing_local_origin_success_rate": 0,
        "enforcing_success_rate": 0,
        "enforcing_consecutive_5xx": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "interval": "1s",
        "base_ejection_time": "2s",
        "max_ejection_time": "30s",
        "max_ejection_percent": 100,
    }
