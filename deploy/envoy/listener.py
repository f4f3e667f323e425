"""The public listener, and the one that serves the signing keys to it."""

from __future__ import annotations

from deploy.envoy.access_log import access_log
from deploy.envoy.clusters import WEB, WINDOW_BYTES
from deploy.envoy.filters import Scope, http_filters, jwks_filters, strip_identity
from deploy.envoy.refusals import local_replies
from deploy.envoy.routes import jwks_route_configuration, route_configuration
from deploy.envoy.settings import EdgeSettings
from deploy.envoy.tls import SecretFiles, downstream, downstream_of
from deploy.envoy.tracing import traced, untrusted_headers
from deploy.envoy.tree import Tree, address_of, extension, seconds

MANAGER = "envoy.filters.network.http_connection_manager"
TLS_INSPECTOR = "envoy.filters.listener.tls_inspector"
TLS_INSPECTOR_TYPE = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
MANAGER_TYPE = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


PAGE_HOPS = 1
"""The page's server stands between a person and the edge, as a proxy does."""


def public_listener(scope: Scope, files: SecretFiles) -> Tree:
    """The one TLS port that all callers use.

    Whoever asks for the edge by its name in the mesh is the page, or is not
    let in; everybody else is asked for no certificate.
    """
    chains = [_chain(scope, downstream(files), scope.settings.trusted_hops)]
    if scope.settings.web_address:
        page = _chain(scope, downstream_of(files, WEB, scope.settings.trust_domain), PAGE_HOPS)
        chains.append({"filter_chain_match": {"server_names": [scope.settings.mesh_name]}, **page})
    return {
        "name": "public",
        "address": address_of(scope.settings.listen_address),
        "per_connection_buffer_limit_bytes": WINDOW_BYTES,
        "listener_filters": [extension(TLS_INSPECTOR, TLS_INSPECTOR_TYPE)],
        "filter_chains": chains,
    }


def _chain(scope: Scope, transport_socket: Tree, trusted_hops: int) -> Tree:
    return {
        "transport_socket": transport_socket,
        "transport_socket_connect_timeout": "10s",
        "filters": [_public_manager(scope, trusted_hops)],
    }


def jwks_listener(scope: Scope) -> Tree:
    """Serves the signing keys as JSON to Envoy itself."""
    manager = extension(
        MANAGER,
        MANAGER_TYPE,
        stat_prefix="jwks",
        route_config=jwks_route_configuration(scope),
        http_filters=jwks_filters(scope),
    )
    address = address_of(scope.settings.jwks_address)
    return {"name": "jwks", "address": address, "filter_chains": [{"filters": [manager]}]}


def _public_manager(scope: Scope, trusted_hops: int) -> Tree:
    settings = scope.settings
    return extension(
        MANAGER,
        MANAGER_TYPE,
        stat_prefix="edge",
        codec_type="AUTO",
        server_name="parley",
        **_identity(settings, trusted_hops),
        **_limits(settings),
        **traced(settings),
        normalize_path=True,
        merge_slashes=True,
        local_reply_config=local_replies(scope.contract),
        access_log=access_log(settings),
        route_config=route_configuration(scope),
        http_filters=http_filters(scope),
    )


def _identity(settings: EdgeSettings, trusted_hops: int) -> Tree:
    """Who the caller is and which request this is are decided here, whatever the caller says."""
    return {
        "early_header_mutation_extensions": strip_identity(trusted_hops, untrusted_headers(settings)),
        "forward_client_cert_details": "SANITIZE",
        "use_remote_address": True,
        "xff_num_trusted_hops": trusted_hops,
        "generate_request_id": True,
        "always_set_request_id_in_response": True,
    }


def _limits(settings: EdgeSettings) -> Tree:
    """Bounds on what one connection may cost."""
    return {
        "common_http_protocol_options": {
            "idle_timeout": seconds(settings.idle_timeout_seconds),
            "max_headers_count": 100,
            "headers_with_underscores_action": "DROP_HEADER",
        },
        # A stream of JSON that breaks off says why in its trailers.
        "http_protocol_options": {"enable_trailers": True},
        "http2_protocol_options": {
            "max_concurrent_streams": settings.max_streams,
            "initial_stream_window_size": WINDOW_BYTES,
            "initial_connection_window_size": 16 * WINDOW_BYTES,
            "connection_keepalive": {"interval": "30s", "timeout": "10s"},
        },
        "max_request_headers_kb": 60,
        "request_headers_timeout": "10s",
        "stream_idle_timeout": seconds(settings.idle_timeout_seconds),
        "delayed_close_timeout": "1s",
        "drain_timeout": "5s",
    }
