"""The network between the processes of a platform, cut or slow.

It needs a network namespace of its own: all that is on its loopback is meant.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from tests.faults.faults import HANG_SECONDS, Fault
from tests.platform import Stack, family

NARROW = ("rate", "256kbit", "burst", "70kb", "latency", "500ms")
"""A tenth of a second for each 3 KiB of all traffic; what would wait longer than the last is dropped."""


def begin() -> None:
    """Make a new network namespace's loopback work."""
    _run("ip", "link", "set", "lo", "up")


def cut(name: str) -> Fault:
    """Nothing reaches a process, and nothing that it says arrives."""

    async def strike(stack: Stack) -> None:
        ports = _ports(stack.process(name))
        with _unreachable(ports):
            for port in ports:
                assert not await _answers(port)
            await asyncio.sleep(HANG_SECONDS)

    return Fault(f"the network to {name} is cut for {HANG_SECONDS:g} s", strike)


def slow() -> Fault:
    """All traffic together goes through a narrow pipe that also loses packets."""

    async def strike(stack: Stack) -> None:
        del stack
        _run("tc", "qdisc", "add", "dev", "lo", "root", "tbf", *NARROW)
        try:
            await asyncio.sleep(HANG_SECONDS)
            assert " overlimits 0 " not in _run("tc", "-s", "qdisc", "show", "dev", "lo")
        finally:
            _run("tc", "qdisc", "del", "dev", "lo", "root")

    return Fault(f"the network is slow and loses packets for {HANG_SECONDS:g} s", strike)


def _ports(process: psutil.Process) -> list[int]:
    """Where a process and those below it listen."""
    heard = [each for member in family(process) for each in member.net_connections("tcp")]
    ports = {each.laddr.port for each in heard if each.status == psutil.CONN_LISTEN}
    assert ports
    return sorted(ports)


@contextmanager
def _unreachable(ports: list[int]) -> Iterator[None]:
    """Packets to and from these ports go nowhere, until the block's end."""
    rules = [
        ("ipproto", "tcp", end, str(port), "priority", "1", "blackhole")
        for port in ports
        for end in ("dport", "sport")
    ]
    # The table of local addresses comes first otherwise.
    _run("ip", "rule", "add", "priority", "2", "lookup", "local")
    _run("ip", "rule", "del", "priority", "0")
    for rule in rules:
        _run("ip", "rule", "add", *rule)
    try:
        yield
    finally:
        for rule in rules:
            _run("ip", "rule", "del", *rule)
        _run("ip", "rule", "add", "priority", "0", "lookup", "local")
        _run("ip", "rule", "del", "priority", "2")


async def _answers(port: int) -> bool:
    with suppress(OSError, TimeoutError):
        _, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 1)
        writer.close()
        return True
    return False


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout
