"""The edge's access log: a JSON object a line, without secrets.

No header that carries credentials is named here, and paths lose their query:
callers put tokens into both.
"""

from __future__ import annotations

from deploy.envoy.settings import EdgeSettings
from deploy.envoy.tree import Tree, extension

CLAIMS = "DYNAMIC_METADATA(envoy.filters.http.jwt_authn:claims"

FIELDS = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "event": "edge_request",
    "request_id": "%REQ(X-REQUEST-ID)%",
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


def access_log(settings: EdgeSettings) -> list[Tree]:
    """Writes `FIELDS` for each request."""
    return [
        extension(
            "envoy.access_loggers.file",
            "envoy.extensions.access_loggers.file.v3.FileAccessLog",
            path=settings.access_log_path,
            log_format={"json_format": FIELDS, "omit_empty_values": True},
        )
    ]
