"""From the text that a model wrote to arguments that a tool can trust."""

from __future__ import annotations

import jiter
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from services.rpc.errors import FieldViolation
from services.tools.catalogue import Arguments, Tool
from services.tools.errors import InvalidArguments, quoted

# A status travels in headers of a few KiB.
MAX_VIOLATIONS = 8
_TOLD_VIOLATIONS = 3


def parse_arguments(tool: Tool, text: str, max_bytes: int) -> Arguments:
    """Read and check a call's arguments.

    The JSON is RFC 8259's and stricter: no NaN or infinity, no key twice, no
    lone surrogate, at most 200 levels deep.

    Args:
        tool: The tool that is called.
        text: The arguments as JSON text; empty means `{}`.
        max_bytes: Bytes that the text may have.

    Raises:
        InvalidArguments: They are too large, no JSON, no object, or break the
            tool's schema.
    """
    data = text.encode()
    if len(data) > max_bytes:
        raise InvalidArguments(tool.name, f"The arguments are larger than {max_bytes} bytes.")
    try:
        value = jiter.from_json(data or b"{}", allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise InvalidArguments(
            tool.name, f"The arguments are not valid JSON: {quoted(str(error))}."
        ) from None
    if not isinstance(value, dict):
        raise InvalidArguments(tool.name, "The arguments must be a JSON object.")
    return _validate(tool, value)


def _validate(tool: Tool, value: dict[str, object]) -> Arguments:
    try:
        return tool.arguments.model_validate(value)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)[:MAX_VIOLATIONS]
    violations = [_violation(fault) for fault in faults]
    told = "; ".join(
        f"{fault.field or 'arguments'}: {fault.description}" for fault in violations[:_TOLD_VIOLATIONS]
    )
    raise InvalidArguments(tool.name, f"The arguments do not fit {tool.name}: {told}.", violations)


def _violation(fault: ErrorDetails) -> FieldViolation:
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"])
    return FieldViolation(quoted(field.removeprefix(".")), quoted(fault["msg"]))
