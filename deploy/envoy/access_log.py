"""The edge's access log: a JSON object a line, without secrets.

No header that carries credentials is named here, and paths lose their query:
callers put tokens into both.
"""

from __future__ import annotations

from deploy.envoy.settings import EdgeSettings
from deploy.envoy.tree import Tree, cel, extension, seconds

CLAIMS = "DYNAMIC_METADATA(envoy.filters.http.jwt_authn:claims"

FIELDS = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "event": "edge_request",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "trace_id": "%TRACE_ID%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "protocol": "%PROTOCOL%",
    "verb": "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD)%",
    "path": "%PATH(NQ:ORIG_OR_PATH):256%",
    "method": "%PATH(NQ:PATH):256%",
    "user_agent": "%REQ(USER-AGENT):128%",
    "origin": "%REQ(ORIGIN):128%",
    "user_id": f"%{CLAIMS}:sub)%",
    "tenant_id": f"%{CLAIMS}:tenant)%",
    "key_id": f"%{CLAIMS}:key_id)%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS_NUMBER%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "replica": "%UPSTREAM_HOST%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
}


# What Envoy says of the answers that are its own decision, by how it begins. What auth refused is told by
# auth, what a service refused by the service; a probe or a caller who left was not refused at all.
REFUSALS = (
    "jwt_authn_access_denied",
    "rbac_access_denied",
    "ext_authz_error",
    "route_not_found",
    "cluster_not_found",
    "local_rate_limited",
    "request_rate_limited",
    "request_payload_",
    "payload_too_large",
    "early_grpc_json_transcode_failure",
    "grpc_json_transcode_failure",
    "http1.",
    "http2.",
    "missing_host_header",
    "invalid_path",
    "path_normalization_failed",
    "overload",
)
AUDIT_LOG = "refusals"
FLUSH_SECONDS = 1
BUFFER_BYTES = 64 * 1024


def access_log(settings: EdgeSettings) -> list[Tree]:
    """Writes `FIELDS` for each request, and tells auth's audit what Envoy itself refused."""
    return [
        extension(
            "envoy.access_loggers.file",
            "envoy.extensions.access_loggers.file.v3.FileAccessLog",
            path=settings.access_log_path,
            log_format={"json_format": FIELDS, "omit_empty_values": True},
        ),
        _refusals(),
    ]


def _refusals() -> Tree:
    """Sends refusals to auth in batches, beside the calls; without auth Envoy drops what is too much."""
    logger = extension(
        "envoy.access_loggers.http_grpc",
        "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        common_config={
            "log_name": AUDIT_LOG,
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": "auth"}},
            "buffer_flush_interval": seconds(FLUSH_SECONDS),
            "buffer_size_bytes": {"value": BUFFER_BYTES},
        },
        additional_response_headers_to_log=["grpc-status"],
    )
    of_envoy = " || ".join(f"response.code_details.startsWith('{start}')" for start in REFUSALS)
    return {**logger, "filter": {"extension_filter": cel(of_envoy)}}
