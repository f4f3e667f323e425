"""Asks the person whether a call may run."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum

from cli.console import errors
from parley.inference.v1 import chat_pb2

LINE_BYTES = 4096
YES = frozenset({"y", "yes"})


class Approve(StrEnum):
    """What is done about calls that need approval."""

    ASK = "ask"
    DENY = "deny"

    @classmethod
    def by_default(cls) -> Approve:
        """Ask where somebody sits at a terminal."""
        return cls.ASK if sys.stdin.isatty() else cls.DENY

    @property
    def policy(self) -> chat_pb2.ApprovalPolicy.ValueType:
        """What a request says."""
        asks = self is Approve.ASK
        return chat_pb2.APPROVAL_POLICY_ASK if asks else chat_pb2.APPROVAL_POLICY_DENY


async def ask(needed: chat_pb2.ApprovalNeeded) -> bool | None:
    """Whether the call may run; None where nobody says so before it lapses."""
    errors().print(f"Run {needed.call.name}? \\[y/N] ", end="")
    left = (needed.expire_time.ToDatetime(UTC) - datetime.now(UTC)).total_seconds()
    with suppress(TimeoutError):
        async with asyncio.timeout(left):
            return (await _read_line()).strip().lower() in YES
    errors().print("nobody said so in time")
    return None


async def _read_line() -> str:
    """The next line of the input; empty at its end. Waiting at a terminal can be cancelled."""
    if not sys.stdin.isatty():
        return sys.stdin.readline(LINE_BYTES)
    loop, terminal = asyncio.get_running_loop(), sys.stdin.fileno()
    readable = asyncio.Event()
    loop.add_reader(terminal, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(terminal)
    # A terminal gives a line at a time; Python's own buffer would keep what comes after it.
    return os.read(terminal, LINE_BYTES).decode(errors="replace")
