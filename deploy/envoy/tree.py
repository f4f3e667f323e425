"""The few shapes that Envoy's configuration (xDS v3, as JSON) repeats everywhere."""

from __future__ import annotations

from typing import Any

from deploy.envoy.settings import UNIX, endpoint

Tree = dict[str, Any]

TYPE_URL = "type.googleapis.com/"


def typed(message: str, **fields: Any) -> Tree:
    """A `google.protobuf.Any` of this message type; fields that are None are left out."""
    return {
        "@type": TYPE_URL + message,
        **{name: value for name, value in fields.items() if value is not None},
    }


def extension(name: str, message: str, **fields: Any) -> Tree:
    """A named extension with its typed configuration."""
    return {"name": name, "typed_config": typed(message, **fields)}


def cel(expression: str) -> Tree:
    """An access log filter that lets pass what a CEL expression is true of."""
    message = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    return extension("cel", message, expression=expression)


def seconds(duration: float) -> str:
    """A `google.protobuf.Duration` as JSON."""
    return f"{duration:.9f}".rstrip("0").rstrip(".") + "s"


def address_of(address: str) -> Tree:
    """An Envoy address from `host:port`, `unix:PATH` or `unix:@NAME` (abstract)."""
    if address.startswith(UNIX):
        path = address.removeprefix(UNIX)
        return {"pipe": {"path": path} if path.startswith("@") else {"path": path, "mode": 0o600}}
    host, port = endpoint(address)
    return {"socket_address": {"address": host, "port_value": port}}
