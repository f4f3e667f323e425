"""A channel to the edge: one TLS port for everything."""

from pathlib import Path

import grpc

from parley_client.retries import service_config

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""The largest message either side may send; the edge holds the same limit."""

OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A long answer may be silent while a tool runs; without pings a dead peer
    # would go unnoticed for as long.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.primary_user_agent", "parley-client"),
    ("grpc.service_config", service_config()),
)
"""How a channel to the edge is set up."""


def open_channel(address: str, *, authority: Path | None = None) -> grpc.aio.Channel:
    """Opens a TLS channel; nothing is sent before the first call.

    Args:
        address: `host:port` of the edge.
        authority: PEM file of the authority that signed the edge's certificate.
            Default: the authorities that gRPC trusts by itself.

    Raises:
        OSError: The authority file cannot be read.
    """
    root = None if authority is None else authority.read_bytes()
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(root), options=OPTIONS)
