"""The tools that Parley brings along."""

from __future__ import annotations

from services.tools.builtin import file, file_changes, file_search, math, math_operation, symbolic, utility
from services.tools.catalogue import Tool

BUILT_IN: tuple[Tool, ...] = (
    *file.TOOLS,
    *file_changes.TOOLS,
    *file_search.TOOLS,
    *math.TOOLS,
    *math_operation.TOOLS,
    *symbolic.TOOLS,
    *utility.TOOLS,
)
