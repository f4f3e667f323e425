"""What the audit hears of calls that share a call of the service: its own end says nothing of theirs."""

from __future__ import annotations

from services.rpc.call import tell_part
from services.rpc.errors import ServiceError
from services.tools.runner import Invocation


def tell_of_call(invocation: Invocation, error: ServiceError | None) -> None:
    """Tell the audit how a call of a tool ended, with its arguments as a digest."""
    tell_part(error, invocation.arguments.encode(), call_id=invocation.call_id, tool=invocation.tool)
