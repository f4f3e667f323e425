"""Tools that describe the machine: only what harms nobody to know.

Neither names nor addresses of the machine, no command lines, no users, and no
process but the service's own: they would help an attacker and nobody else.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field

from services.tools.builtin.machine import (
    CpuInfo,
    DiskInfo,
    InterfaceInfo,
    MemoryInfo,
    OsInfo,
    ProcessInfo,
    disk,
    interfaces,
    memory,
    operating_system,
    processes,
    processors,
)
from services.tools.catalogue import (
    Arguments,
    Category,
    Example,
    LoopCall,
    SafetyLevel,
    Tool,
    ToolResult,
    tool,
)
from services.tools.errors import VariableNotShown
from services.tools.workspace import Workspaces

MAX_LISTED = 100
_SECRET = re.compile(
    r"key|token|secret|passw|pwd|credential|auth|cookie|session|private|salt|_url|_dsn|dsn_|_uri|conn",
    re.IGNORECASE,
)

_describes = partial(tool, category=Category.SYSTEM, safety=SafetyLevel.RESTRICTED, timeout_seconds=10)


class SystemInfoArguments(Arguments):
    """What `system_info` takes."""

    info_type: Literal["all", "os", "cpu", "memory", "disk", "network"] = Field(
        "all", description="What to tell of."
    )


class SystemInfoResult(ToolResult):
    """What `system_info` gives."""

    os: OsInfo | None = None
    cpu: CpuInfo | None = None
    memory: MemoryInfo | None = None
    disk: DiskInfo | None = None
    network: list[InterfaceInfo] | None = None


class NetworkInfoArguments(Arguments):
    """What `network_info` takes: nothing."""


class NetworkInfoResult(ToolResult):
    """What `network_info` gives."""

    interfaces: list[InterfaceInfo] = Field(description="The network interfaces, by name.")


class DiskUsageArguments(Arguments):
    """What `disk_usage` takes: nothing."""


class DiskUsageResult(ToolResult):
    """What `disk_usage` gives."""

    disk: DiskInfo = Field(description="The file system that holds the workspaces.")
    workspace_used_bytes: int = Field(description="Bytes of your files, those of conversations included.")
    workspace_limit_bytes: int = Field(description="Bytes that they may have.")
    workspace_used_entries: int = Field(description="Your files and folders.")
    workspace_limit_entries: int = Field(description="Files and folders that you may have.")


class ProcessListArguments(Arguments):
    """What `process_list` takes."""

    sort_by: Literal["cpu", "memory", "name"] = Field("cpu", description="What comes first; most first.")
    limit: int = Field(20, ge=1, le=MAX_LISTED, description="Most processes to give.")


class ProcessListResult(ToolResult):
    """What `process_list` gives."""

    total: int = Field(description="Processes of the tools service.")
    processes: list[ProcessInfo]


class EnvGetArguments(Arguments):
    """What `env_get` takes."""

    var_name: str | None = Field(
        None, min_length=1, max_length=128, description="The variable; default: all that are shown."
    )


class EnvGetResult(ToolResult):
    """What `env_get` gives."""

    variables: dict[str, str] = Field(description="Values by name; what is not set is left out.")


_PROCESSORS = Example(
    "The processors",
    {"info_type": "cpu"},
    {"cpu": {"logical_count": 8, "usable_count": 4, "load_average": [0.5, 0.4, 0.3]}},
    varies=True,
)
_HOW_FULL = Example(
    "How full everything is",
    {},
    {
        "disk": {"total_bytes": 10**11, "free_bytes": 6 * 10**10, "used_percent": 40.0},
        "workspace_used_bytes": 1200,
        "workspace_limit_bytes": 268435456,
        "workspace_used_entries": 3,
        "workspace_limit_entries": 10000,
    },
    varies=True,
)


def system_tools(workspaces: Workspaces, variables: Mapping[str, str]) -> tuple[Tool, ...]:
    """The tools that describe the machine.

    Args:
        workspaces: Whose file system they describe.
        variables: Environment variables to show; `shown_variables` picks them.
    """

    @_describes(examples=[_PROCESSORS])
    async def system_info(arguments: SystemInfoArguments, _call: LoopCall) -> SystemInfoResult:
        """Tells of the machine that tools run on: system, processors, memory, disk and network."""
        return await asyncio.to_thread(describe, arguments.info_type, workspaces.root)

    @_describes(examples=[_HOW_FULL])
    async def disk_usage(_arguments: DiskUsageArguments, call: LoopCall) -> DiskUsageResult:
        """Tells how full the disk and your workspace are."""
        usage = await asyncio.to_thread(workspaces.usage, call.owner)
        return DiskUsageResult(
            disk=disk(workspaces.root),
            workspace_used_bytes=usage.bytes,
            workspace_limit_bytes=workspaces.limits.bytes,
            workspace_used_entries=usage.entries,
            workspace_limit_entries=workspaces.limits.entries,
        )

    @_describes(examples=[Example("All that is shown", {}, {"variables": {}}, varies=True)])
    async def env_get(arguments: EnvGetArguments, _call: LoopCall) -> EnvGetResult:
        """Tells environment variables that the operator shows."""
        name = arguments.var_name
        if name is None:
            return EnvGetResult(variables=dict(variables))
        if name not in variables:
            raise VariableNotShown(name, sorted(variables))
        return EnvGetResult(variables={name: variables[name]})

    return system_info, network_info, disk_usage, process_list, env_get


@_describes(
    examples=[
        Example(
            "The interfaces",
            {},
            {
                "interfaces": [
                    {"name": "lo", "is_up": True, "mtu": 65536, "sent_bytes": 9, "received_bytes": 9}
                ]
            },
            varies=True,
        )
    ]
)
async def network_info(_arguments: NetworkInfoArguments, _call: LoopCall) -> NetworkInfoResult:
    """Tells of the network interfaces and what went over them."""
    return NetworkInfoResult(interfaces=await asyncio.to_thread(interfaces))


@_describes(
    examples=[
        Example(
            "What takes most memory",
            {"sort_by": "memory", "limit": 1},
            {
                "total": 3,
                "processes": [
                    {"role": "service", "cpu_seconds": 1.5, "memory_bytes": 90000000, "age_seconds": 60}
                ],
            },
            varies=True,
        )
    ]
)
async def process_list(arguments: ProcessListArguments, _call: LoopCall) -> ProcessListResult:
    """Lists the processes of the tools service: the service, its workers and the sandboxes."""
    found = await asyncio.to_thread(processes)
    keys = {"cpu": lambda one: -one.cpu_seconds, "memory": lambda one: -one.memory_bytes}
    found.sort(key=keys.get(arguments.sort_by, lambda one: one.role))
    return ProcessListResult(total=len(found), processes=found[: arguments.limit])


def shown_variables(environment: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """What of the environment may be shown: the named ones, but none whose name sounds like a secret."""
    return {name: environment[name] for name in names if name in environment and not _SECRET.search(name)}


def describe(info_type: str, root: Path) -> SystemInfoResult:
    """What is asked of the machine."""
    wanted = {"os", "cpu", "memory", "disk", "network"} if info_type == "all" else {info_type}
    return SystemInfoResult(
        os=operating_system() if "os" in wanted else None,
        cpu=processors() if "cpu" in wanted else None,
        memory=memory() if "memory" in wanted else None,
        disk=disk(root) if "disk" in wanted else None,
        network=interfaces() if "network" in wanted else None,
    )
