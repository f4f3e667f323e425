"""The networks that keys are bound to."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from services.rpc.errors import FieldViolation, InvalidRequest

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


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
