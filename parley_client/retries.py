"""Which calls the channel repeats by itself.

A call that the contract declares free of side effects or idempotent may be
sent again when the platform was unavailable; gRPC does so when the channel
tells it (gRFC A6, service config). Nothing else is ever sent twice.
"""

import json
from collections.abc import Iterable

from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from parley.auth.v1 import (
    audit_service_pb2,
    key_service_pb2,
    quota_service_pb2,
    role_service_pb2,
    session_service_pb2,
    signing_key_service_pb2,
    tenant_service_pb2,
    usage_service_pb2,
    user_service_pb2,
)
from parley.inference.v1 import conversation_service_pb2, inference_service_pb2, rollout_service_pb2
from parley.tools.v1 import mcp_service_pb2, tool_service_pb2

CONTRACT: tuple[FileDescriptor, ...] = (
    inference_service_pb2.DESCRIPTOR,
    conversation_service_pb2.DESCRIPTOR,
    rollout_service_pb2.DESCRIPTOR,
    tool_service_pb2.DESCRIPTOR,
    mcp_service_pb2.DESCRIPTOR,
    audit_service_pb2.DESCRIPTOR,
    key_service_pb2.DESCRIPTOR,
    quota_service_pb2.DESCRIPTOR,
    role_service_pb2.DESCRIPTOR,
    session_service_pb2.DESCRIPTOR,
    signing_key_service_pb2.DESCRIPTOR,
    tenant_service_pb2.DESCRIPTOR,
    usage_service_pb2.DESCRIPTOR,
    user_service_pb2.DESCRIPTOR,
)
"""The files whose services the client calls."""

_RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 3,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_REPEATABLE = (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT)


def service_config(files: Iterable[FileDescriptor] = CONTRACT) -> str:
    """The channel's service config, as JSON: a retry policy for every unary call that may be repeated."""
    names = [
        {"service": service.full_name, "method": method.name}
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
        if _repeatable(method)
    ]
    return json.dumps({"methodConfig": [{"name": names, "retryPolicy": _RETRY}]})


def _repeatable(method: MethodDescriptor) -> bool:
    streams = method.client_streaming or method.server_streaming
    return not streams and method.GetOptions().idempotency_level in _REPEATABLE
