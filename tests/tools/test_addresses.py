from __future__ import annotations

import asyncio
import socket
import threading
from ipaddress import ip_address, ip_network

import pytest

from services.tools.addresses import EVERY_NETWORK, AddressGuard, SystemResolver, special_kind
from services.tools.web_errors import AddressNotAllowed, HostTimeout, HostUnreachable, UrlInvalid


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("169.254.169.254", "a metadata service of the cloud"),
        ("168.63.129.16", "a metadata service of the cloud"),
        ("fd00:ec2::254", "a metadata service of the cloud"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("::1", "loopback"),
        ("0.0.0.0", "unspecified"),  # noqa: S104 - refused, not bound
        ("::", "unspecified"),
        ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("10.1.2.3", "private"),
        ("172.31.255.255", "private"),
        ("192.168.0.1", "private"),
        ("fc00::1", "private"),
        ("fec0::1", "private"),
        ("100.64.0.1", "shared by a carrier's customers"),
        ("100.100.100.200", "shared by a carrier's customers"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("192.0.2.1", "for documentation"),
        ("2001:db8::1", "for documentation"),
        ("198.18.0.1", "for benchmarks"),
        ("2002:7f00:1::", "a tunnel"),
        ("2001:0:1::1", "a tunnel"),
        ("192.0.0.192", "reserved"),
        ("255.255.255.255", "reserved"),
        ("240.0.0.1", "reserved"),
        ("::127.0.0.1", "reserved"),
        ("::ffff:0:127.0.0.1", "reserved"),
        ("1::1", "reserved"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:a9fe:a9fe", "a metadata service of the cloud"),
        ("64:ff9b::10.0.0.1", "private"),
        ("64:ff9b::8.8.8.8", ""),
        ("8.8.8.8", ""),
        ("172.32.0.1", ""),
        ("100.128.0.1", ""),
        ("2606:4700::1111", ""),
    ],
)
def test_every_kind_of_address_is_told_apart(address: str, kind: str) -> None:
    assert special_kind(ip_address(address)) == kind


def guard(*found: str, opened: tuple[str, ...] = ()) -> AddressGuard:
    async def resolve(_host: str) -> list[str]:
        return list(found)

    return AddressGuard(resolve, opened=tuple(ip_network(network) for network in opened))


async def test_a_public_host_is_admitted_with_its_addresses() -> None:
    assert await guard("8.8.8.8", "2606:4700::1111").admit("dns.example", 443) == [
        ip_address("8.8.8.8"),
        ip_address("2606:4700::1111"),
    ]


async def test_one_forbidden_address_refuses_the_host() -> None:
    with pytest.raises(AddressNotAllowed) as caught:
        await guard("8.8.8.8", "10.0.0.7").admit("mixed.example", 443)
    assert caught.value.metadata == {"host": "mixed.example", "address": "10.0.0.7"}


async def test_a_mapped_address_is_dialled_as_what_it_maps() -> None:
    assert await guard("::ffff:8.8.8.8").admit("mapped.example", 443) == [ip_address("8.8.8.8")]


async def test_an_address_needs_no_resolver() -> None:
    assert await guard().admit("8.8.4.4", 80) == [ip_address("8.8.4.4")]


async def test_an_operator_opens_a_network_and_nothing_beside_it() -> None:
    opened = guard("10.1.0.5", opened=("10.1.0.0/16",))
    assert await opened.admit("intranet.example", 443) == [ip_address("10.1.0.5")]
    with pytest.raises(AddressNotAllowed):
        await opened.admit("10.2.0.1", 443)


async def test_every_network_can_be_opened() -> None:
    everywhere = AddressGuard(guard("fe80::1").resolve, None, EVERY_NETWORK)
    assert await everywhere.admit("near.example", 8888) == [ip_address("fe80::1")]


async def test_a_port_that_is_not_open_is_refused() -> None:
    with pytest.raises(UrlInvalid, match="port 22"):
        await guard("8.8.8.8").admit("dns.example", 22)


async def test_a_host_without_an_address_is_unreachable() -> None:
    with pytest.raises(HostUnreachable, match="no address"):
        await guard().admit("nobody.example", 443)


async def test_resolving_has_a_deadline() -> None:
    async def never(_host: str) -> list[str]:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(HostTimeout) as caught:
        await AddressGuard(never, resolve_seconds=0.02).admit("slow.example", 443)
    assert caught.value.metadata["phase"] == "resolve"


async def test_the_system_resolves_and_its_threads_end() -> None:
    resolver = SystemResolver()
    assert "127.0.0.1" in await resolver("localhost")
    with pytest.raises(socket.gaierror):
        await resolver("no-such-host.invalid")
    resolver.close()
    for thread in threading.enumerate():
        if thread.name.startswith("resolve"):
            thread.join(5)
            assert not thread.is_alive()
