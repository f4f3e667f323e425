"""Channels to other services of the mesh."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc

from services.rpc.addresses import Addresses
from services.rpc.tls import TlsFiles, channel_credentials
from services.rpc.tracing import onward_trace

CHECK_SECONDS = 1.0
CLOSE_GRACE_SECONDS = 600.0
MAX_MESSAGE_BYTES = 16 * 2**20

OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Behind one name may be several replicas: all of them are used.
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Come back quickly after a neighbour's restart.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


def open_channel(address: str, *, tls: TlsFiles, service: str, trust_domain: str) -> RotatingChannel:
    """Open a channel to a service of the mesh.

    Args:
        address: `host:port`, what else gRPC takes for a target, or `file:PATH` of a file with an address a
            line, which is followed.
        tls: The caller's own identity.
        service: The name that the server's certificate must carry.
        trust_domain: The mesh's trust domain.

    Raises:
        OSError: A file of the identity, or that of the addresses, cannot be read.
    """
    options = (*OPTIONS, ("grpc.ssl_target_name_override", f"{service}.{trust_domain}"))
    addresses = Addresses(address)
    return RotatingChannel(
        lambda: grpc.aio.secure_channel(addresses.target(), channel_credentials(tls), options=options),
        lambda: (*tls.version(), *addresses.version()),
    )


class RotatingChannel(grpc.aio.Channel):
    """A channel that shows a new certificate, and dials new addresses, soon after their files were replaced.

    grpc.aio fixes both when a channel is made, so this makes a new one for
    later calls and lets the calls of the old one end. It offers what generated
    stubs ask of a channel.
    """

    def __init__(
        self, connect: Callable[[], grpc.aio.Channel], version: Callable[[], tuple[int, ...]]
    ) -> None:
        """Connect with the identity, and to the addresses, as they are now.

        Args:
            connect: Makes a channel with both as they are then.
            version: Changes when either does.
        """
        self._connect = connect
        self._version = version
        self._seen = version()
        self._checked = time.monotonic()
        self._channel = connect()
        self._retired: set[asyncio.Task[None]] = set()

    def current(self) -> grpc.aio.Channel:
        """The channel for calls that start now."""
        now = time.monotonic()
        if now - self._checked >= CHECK_SECONDS:
            self._checked = now
            self._follow()
        return self._channel

    def _follow(self) -> None:
        """Replace the channel if what it is made from was replaced; keep the old one if that fails."""
        try:
            version = self._version()
            if version == self._seen:
                return
            fresh = self._connect()
        except OSError:
            return
        retired = asyncio.ensure_future(self._channel.close(CLOSE_GRACE_SECONDS))
        self._retired.add(retired)
        retired.add_done_callback(self._retired.discard)
        self._seen, self._channel = version, fresh

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        """What a stub asks for, for a unary call."""
        return self._bind("unary_unary", arguments, options)

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        """What a stub asks for, for a server stream."""
        return self._bind("unary_stream", arguments, options)

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        """What a stub asks for, for a client stream."""
        return self._bind("stream_unary", arguments, options)

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        """What a stub asks for, for a bidirectional stream."""
        return self._bind("stream_stream", arguments, options)

    def _bind(self, shape: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """A callable that makes each call on the channel that is current then, in the caller's trace."""
        bound: tuple[grpc.aio.Channel, Callable[..., Any]] | None = None

        def call(*call_arguments: Any, **call_options: Any) -> Any:
            nonlocal bound
            channel = self.current()
            if bound is None or bound[0] is not channel:
                bound = (channel, getattr(channel, shape)(*arguments, **options))
            if trace := onward_trace():
                call_options["metadata"] = (*(call_options.get("metadata") or ()), *trace)
            return bound[1](*call_arguments, **call_options)

        return call

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """State of the current channel."""
        return self.current().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the current channel leaves a state."""
        await self.current().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the current channel is connected."""
        await self.current().channel_ready()

    async def __aenter__(self) -> RotatingChannel:
        """Use the channel until the block's end."""
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Close it."""
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close the current channel and those that were replaced."""
        for retired in list(self._retired):
            retired.cancel()
        await asyncio.gather(*self._retired, return_exceptions=True)
        await self._channel.close(grace)
