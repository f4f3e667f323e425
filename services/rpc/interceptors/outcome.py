"""How a call ended, for the interceptors that only watch."""

from __future__ import annotations

import asyncio

import grpc

from services.rpc.errors import STATUS_CODES
from services.rpc.interceptors.around import Context


def outcome(error: BaseException, context: Context) -> str:
    """The name of the status code that a call leaves with when `error` passes by."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return grpc.StatusCode.CANCELLED.name
    code = context.code()
    if isinstance(code, int):
        code = STATUS_CODES.get(code, grpc.StatusCode.UNKNOWN)
    return code.name if code else grpc.StatusCode.UNKNOWN.name
