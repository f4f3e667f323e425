"""The tools that Parley brings along."""

from __future__ import annotations

from services.tools.builtin import (
    file,
    file_changes,
    file_search,
    json_data,
    math,
    math_operation,
    sql_on_data,
    symbolic,
    text,
    transform,
    utility,
    validation,
)
from services.tools.catalogue import Tool

BUILT_IN: tuple[Tool, ...] = (
    *file.TOOLS,
    *file_changes.TOOLS,
    *file_search.TOOLS,
    *math.TOOLS,
    *math_operation.TOOLS,
    *symbolic.TOOLS,
    *json_data.TOOLS,
    *transform.TOOLS,
    *text.TOOLS,
    *validation.TOOLS,
    *sql_on_data.TOOLS,
    *utility.TOOLS,
)
