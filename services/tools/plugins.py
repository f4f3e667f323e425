"""Tools that other packages bring along, found by the entry point group `parley.tools`.

A package names each tool, or a tuple of tools, in its metadata:

    [project.entry-points."parley.tools"]
    greet = "greeting:greet"

Its module is imported by the service and by every worker process.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points

from services.tools.catalogue import Tool

GROUP = "parley.tools"


class PluginUnusable(Exception):
    """A plug-in cannot be used; the message names it and says why."""


def installed() -> Iterable[EntryPoint]:
    """The plug-ins that are installed."""
    return entry_points(group=GROUP)


def plugin_tools(plugins: Iterable[EntryPoint], taken: Collection[str]) -> tuple[Tool, ...]:
    """The tools of the plug-ins, ordered by the names of these.

    Args:
        plugins: Where they are; `installed` finds them.
        taken: Names that tools have already.

    Raises:
        PluginUnusable: One cannot be loaded, is no tool, or takes a name.
    """
    found: dict[str, Tool] = {}
    for entry in sorted(plugins, key=lambda entry: entry.name):
        for tool in _load(entry):
            if tool.name in found or tool.name in taken:
                raise PluginUnusable(f"the plug-in {entry.name} takes the name of the tool {tool.name}")
            found[tool.name] = tool
    return tuple(found.values())


def _load(entry: EntryPoint) -> Iterator[Tool]:
    try:
        loaded = entry.load()
    except Exception as error:
        raise PluginUnusable(f"the plug-in {entry.name} cannot be loaded: {error}") from error
    for tool in loaded if isinstance(loaded, tuple | list) else (loaded,):
        if not isinstance(tool, Tool):
            raise PluginUnusable(
                f"the plug-in {entry.name} gives a {type(tool).__name__}, where a tool should be"
            )
        yield tool
