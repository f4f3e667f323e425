"""The tools that need the sandbox, with the sandbox that works here or the reason why none does."""

from __future__ import annotations

from pathlib import Path

import structlog

from services.tools.builtin.python.run import python_tools
from services.tools.catalogue import Tool
from services.tools.sandbox.confinement import Interpreter
from services.tools.sandbox.policy import Limits
from services.tools.sandbox.probe import SandboxUnavailable, Wanted, find_sandbox
from services.tools.settings import ToolsSettings
from services.tools.workspace import Workspaces

RUNS = ".runs"
"""The folder beside the workspaces for programs whose sandbox has no folders of its own."""

_BOTH = ("bubblewrap", "landlock")
_log = structlog.get_logger("parley.tools")

_OFF = "the setting PARLEY_TOOLS_SANDBOX is off"


async def sandbox_tools(settings: ToolsSettings, workspaces: Workspaces) -> tuple[Tool, ...]:
    """The tools, off with a reason where no sandbox works."""
    limits = Limits(memory_bytes=settings.sandbox_memory_bytes)
    if settings.sandbox == "off":
        return python_tools(None, workspaces, unavailable=_OFF)
    try:
        sandbox = await find_sandbox(_wanted(settings, workspaces.root))
    except SandboxUnavailable as error:
        _log.warning("tools that run programs are off", why=str(error))
        return python_tools(None, workspaces, unavailable=str(error))
    _log.info("sandbox", kind=sandbox.confinement.name)
    return python_tools(sandbox, workspaces, limits=limits)


def _wanted(settings: ToolsSettings, root: Path) -> Wanted:
    chosen = settings.sandbox_python_path
    runs = root / RUNS
    runs.mkdir(mode=0o700, exist_ok=True)
    return Wanted(
        kinds=_BOTH if settings.sandbox == "auto" else (settings.sandbox,),
        at_once=settings.sandbox_programs,
        interpreter=Interpreter.at(chosen) if chosen else Interpreter.own(),
        root=runs,
    )
