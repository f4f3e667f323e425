"""What this machine is and does, as far as tools may tell."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import psutil
from pydantic import Field

from services.tools.catalogue import ToolResult

_WORKER = "services.tools.worker"
_STAGE = "/stage.py"

Role = Literal["service", "worker", "sandbox", "other"]


class OsInfo(ToolResult):
    """The operating system."""

    system: str = Field(examples=["Linux"])
    release: str = Field(description="Version of the kernel.")
    machine: str = Field(examples=["x86_64"])
    python: str = Field(description="Version of Python.")
    uptime_seconds: int


class CpuInfo(ToolResult):
    """The processors."""

    logical_count: int = Field(description="Processors that the system sees.")
    usable_count: int = Field(description="Those that this service may use.")
    load_average: list[float] = Field(description="Processes that ran or waited, over 1, 5 and 15 minutes.")


class MemoryInfo(ToolResult):
    """The memory."""

    total_bytes: int
    available_bytes: int
    used_percent: float


class DiskInfo(ToolResult):
    """The file system that holds the workspaces."""

    total_bytes: int
    free_bytes: int
    used_percent: float


class InterfaceInfo(ToolResult):
    """A network interface; its addresses are not shown."""

    name: str
    is_up: bool
    mtu: int = Field(description="Largest packet, in bytes.")
    sent_bytes: int
    received_bytes: int


class ProcessInfo(ToolResult):
    """A process of the tools service."""

    role: Role = Field(description="What it is there for.")
    cpu_seconds: float = Field(description="Processor time that it has taken.")
    memory_bytes: int = Field(description="Memory that it holds.")
    age_seconds: int = Field(description="Time since it started.")


def operating_system() -> OsInfo:
    """The operating system."""
    return OsInfo(
        system=platform.system(),
        release=platform.release(),
        machine=platform.machine(),
        python=platform.python_version(),
        uptime_seconds=int(time.time() - psutil.boot_time()),
    )


def processors() -> CpuInfo:
    """The processors."""
    return CpuInfo(
        logical_count=os.cpu_count() or 1,
        usable_count=len(os.sched_getaffinity(0)),
        load_average=[round(load, 2) for load in os.getloadavg()],
    )


def memory() -> MemoryInfo:
    """The memory."""
    found = psutil.virtual_memory()
    return MemoryInfo(
        total_bytes=found.total, available_bytes=found.available, used_percent=round(found.percent, 1)
    )


def disk(root: Path) -> DiskInfo:
    """The file system of a folder."""
    total, used, free = shutil.disk_usage(root)
    return DiskInfo(total_bytes=total, free_bytes=free, used_percent=round(100 * used / max(1, total), 1))


def interfaces() -> list[InterfaceInfo]:
    """The network interfaces, by name."""
    counted = psutil.net_io_counters(pernic=True)
    return [
        InterfaceInfo(
            name=name,
            is_up=status.isup,
            mtu=status.mtu,
            sent_bytes=counted[name].bytes_sent if name in counted else 0,
            received_bytes=counted[name].bytes_recv if name in counted else 0,
        )
        for name, status in sorted(psutil.net_if_stats().items())
    ]


def processes() -> list[ProcessInfo]:
    """This process and those below it."""
    own = psutil.Process()
    return [told for each in (own, *own.children(recursive=True)) if (told := _told(each, own.pid))]


def _told(process: psutil.Process, service: int) -> ProcessInfo | None:
    """What is told of a process; None where it has ended meanwhile."""
    try:
        with process.oneshot():
            times = process.cpu_times()
            return ProcessInfo(
                role="service" if process.pid == service else _role(process.cmdline()),
                cpu_seconds=round(times.user + times.system, 2),
                memory_bytes=process.memory_info().rss,
                age_seconds=max(0, int(time.time() - process.create_time())),
            )
    except psutil.Error:
        return None


def _role(command: Sequence[str]) -> Role:
    """What a process below the service is there for."""
    if _WORKER in command:
        return "worker"
    return "sandbox" if any(word.endswith(_STAGE) for word in command) else "other"
