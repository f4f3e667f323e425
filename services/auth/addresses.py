"""Where calls come from, and the networks that keys are bound to."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from services.rpc.errors import FieldViolation, InvalidRequest
from services.rpc.interceptors.around import Context

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

FORWARDED_FOR = "x-forwarded-for"


def client_address(context: Context, trusted_hops: int) -> str:
    """The IP address that a call comes from, as the edge states it; else the connection's own."""
    metadata = context.invocation_metadata() or ()
    stated = [value for key, value in metadata if key == FORWARDED_FOR and isinstance(value, str)]
    return stated_address(stated, trusted_hops) or str(context.peer())


def stated_address(forwarded_for: Iterable[str], trusted_hops: int) -> str:
    """The client's IP address in `x-forwarded-for`; empty where it is not stated.

    The edge appends the address that it sees, and each trusted proxy before it
    did the same; what stands further left is only what a client says of itself.

    Args:
        forwarded_for: The header's values.
        trusted_hops: Proxies before the edge that name their client truly.
    """
    addresses = [part.strip() for part in ",".join(forwarded_for).split(",") if part.strip()]
    return addresses[-1 - trusted_hops] if len(addresses) > trusted_hops else ""


def parse_networks(field: str, texts: Sequence[str]) -> list[str]:
    """Networks in CIDR notation, each in its one canonical spelling.

    Args:
        field: Path of the field that holds them.
        texts: Addresses or networks, as people write them.

    Raises:
        InvalidRequest: One is neither.
    """
    return [_network(f"{field}[{index}]", text) for index, text in enumerate(texts)]


def _network(field: str, text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        violation = FieldViolation(field, "must be an IP address or a network such as 192.0.2.0/24")
        raise InvalidRequest(f"{field}: {violation.description}", violations=[violation]) from None


def within(address: str, networks: Iterable[Network]) -> bool:
    """Whether an address lies in one of the networks; what is no address lies in none."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    # A socket for both families spells IPv4 addresses so.
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return any((mapped or parsed) in network for network in networks)
