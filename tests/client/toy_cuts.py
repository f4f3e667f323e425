"""Streams of the toy platform that are cut, and the rest of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc

from parley.inference.v1 import chat_pb2, inference_service_pb2


async def said(
    events: Sequence[chat_pb2.ChatEvent],
    cuts: list[int],
    request: Any,
    context: Any,
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE,
) -> AsyncIterator[chat_pb2.ChatEvent]:
    """What a `Chat` or a `Resume` says, up to the next cut: the number of an event, used up by it."""
    resumes = isinstance(request, inference_service_pb2.ResumeRequest)
    for event in events[request.after_sequence if resumes else 0 :]:
        if event.HasField("started") and not resumes and request.HasField("resume_window"):
            event.started.resume_window.CopyFrom(request.resume_window)
        yield event
        if cuts and event.sequence == cuts[0]:
            cuts.pop(0)
            await context.abort(code, "connection reset")
