"""Which addresses tools may reach.

A host is resolved once, every address it has is checked, and what was checked
is what is dialled: nothing resolves the name a second time, so a name that
answers differently the next time (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from services.tools.web_errors import AddressNotAllowed, HostTimeout, HostUnreachable, UrlInvalid

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

Resolver = Callable[[str], Awaitable[Collection[str]]]
"""Finds a name's addresses; raises OSError where it has none."""

_MAX_ADDRESSES = 16
_RESOLVER_THREADS = 8

# The IANA special-purpose address registries (RFC 6890) and what clouds keep for themselves.
_SPECIAL: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), kind)
    for kind, networks in (
        ("a metadata service of the cloud", ("169.254.169.254", "168.63.129.16", "fd00:ec2::254")),
        ("loopback", ("127.0.0.0/8", "::1")),
        ("unspecified", ("0.0.0.0/8", "::")),
        ("link-local", ("169.254.0.0/16", "fe80::/10")),
        ("private", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10")),
        ("shared by a carrier's customers", ("100.64.0.0/10",)),
        ("multicast", ("224.0.0.0/4", "ff00::/8")),
        ("for documentation", ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")),
        ("for documentation", ("3fff::/20",)),
        ("for benchmarks", ("198.18.0.0/15",)),
        ("a tunnel", ("192.88.99.0/24", "2001::/32", "2002::/16")),
        ("reserved", ("192.0.0.0/24", "240.0.0.0/4", "2001::/23")),
    )
    for network in networks
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
# A translator turns these into the IPv4 address in their last 32 bits (RFC 6052).
_NAT64 = IPv6Network("64:ff9b::/96")


def special_kind(address: Address) -> str:
    """What kind of address it is, in words; empty for one of the public internet."""
    address = plain(address)
    for network, kind in _SPECIAL:
        if address in network:
            return kind
    if isinstance(address, IPv4Address):
        return ""
    if address in _NAT64:
        return special_kind(IPv4Address(int(address) & 0xFFFFFFFF))
    return "" if address in _GLOBAL_UNICAST else "reserved"


def plain(address: Address) -> Address:
    """The address itself, or the IPv4 address that an IPv6 one maps (RFC 4291, 2.5.5.2)."""
    return getattr(address, "ipv4_mapped", None) or address


class SystemResolver:
    """Resolves as the machine is set up to, without blocking the event loop."""

    def __init__(self) -> None:
        """Make a resolver; `close` ends its threads."""
        # Threads of its own: names that answer slowly must not hold up what else runs in threads.
        self._threads = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="resolve")

    async def __call__(self, host: str) -> list[str]:
        """See `Resolver`."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _look_up, host)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def close(self) -> None:
        """Let the threads end; one that waits for an answer ends with it."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str) -> list[tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]]:
    return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)  # type: ignore[return-value]


@dataclass(frozen=True)
class AddressGuard:
    """Says where a connection may go.

    Attributes:
        resolve: Finds a name's addresses.
        ports: Ports that may be dialled; None means every port.
        opened: Networks that may be reached although they are not public.
        resolve_seconds: Time that resolving may take.
    """

    resolve: Resolver
    ports: frozenset[int] | None = frozenset({80, 443})
    opened: tuple[Network, ...] = ()
    resolve_seconds: float = 5.0

    async def admit(self, host: str, port: int) -> list[Address]:
        """The addresses of a host, all of which may be dialled.

        One forbidden address refuses the host: who controls a name could
        otherwise mix addresses and wait for the right one.

        Raises:
            UrlInvalid: The port is not one that may be dialled.
            HostUnreachable: The host has no address.
            HostTimeout: It could not be found out in time.
            AddressNotAllowed: An address of it may not be reached.
        """
        if self.ports is not None and port not in self.ports:
            raise UrlInvalid(f"port {port} is not open to tools", host)
        addresses = [plain(ip_address(text)) for text in await self._addresses(host)]
        for address in addresses:
            kind = special_kind(address)
            if kind and not any(address in network for network in self.opened):
                raise AddressNotAllowed(host, str(address), kind)
        return addresses

    async def _addresses(self, host: str) -> list[str]:
        try:
            return [str(ip_address(host))]
        except ValueError:
            pass
        try:
            async with asyncio.timeout(self.resolve_seconds):
                found = list(await self.resolve(host))
        except TimeoutError:
            raise HostTimeout(host, "resolve") from None
        except (OSError, UnicodeError):
            found = []
        if not found:
            raise HostUnreachable(host, "it has no address")
        return found[:_MAX_ADDRESSES]


EVERY_NETWORK: tuple[Network, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
"""For endpoints that the operator named."""
