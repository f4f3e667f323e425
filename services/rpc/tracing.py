"""Spans within a call that is traced. Everywhere else they cost a look at a context variable.

What a span says leaves the house: names, ids, numbers and reasons; never a prompt, an argument,
a statement's values or an error's text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry import context, trace
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.rpc.errors import ServiceError

Attributes = Mapping[str, str | int | float | tuple[str, ...]]

CANCELLED = "cancelled"

_W3C = TraceContextTextMapPropagator()
_tracer: ContextVar[Tracer | None] = ContextVar("parley_tracer", default=None)


def join_trace(tracer: Tracer, metadata: Iterable[tuple[str, str | bytes]], name: str) -> Span:
    """Begin the span of a call, in the trace that its metadata tell of, for all that its task does.

    A call runs in a task of its own, with which this ends.
    """
    carrier = {key: value for key, value in metadata if key in _W3C.fields and isinstance(value, str)}
    parent = _W3C.extract(carrier, context.Context())
    span = tracer.start_span(name, parent, SpanKind.SERVER)
    context.attach(trace.set_span_in_context(span))
    _tracer.set(tracer if span.is_recording() else None)
    return span


def onward_trace() -> tuple[tuple[str, str], ...]:
    """Metadata that tell the called of the caller's trace; a trace that is not kept is told of as well."""
    if not trace.get_current_span().get_span_context().is_valid:
        return ()
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return tuple(carrier.items())


def trace_ids() -> dict[str, str]:
    """What a log line says of the current span; nothing where there is none."""
    of = trace.get_current_span().get_span_context()
    if not of.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(of.trace_id), "span_id": trace.format_span_id(of.span_id)}


def begin_span(
    name: str,
    attributes: Attributes | None = None,
    *,
    within: Span | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
) -> Span:
    """Begin a span, which whoever asked ends with `end_span`; one that records nothing outside of a trace.

    Args:
        name: What is done; of few different ones.
        attributes: What is known from the start.
        within: The span that this is a part of; default: the current one.
        kind: Whether somebody else is asked.
    """
    tracer = _tracer.get()
    if tracer is None:
        return INVALID_SPAN
    parent = None if within is None else trace.set_span_in_context(within)
    return tracer.start_span(name, parent, kind, attributes)


def end_span(span: Span, error: BaseException | None = None) -> None:
    """End a span, with the reason of what went wrong."""
    if error is not None:
        span.set_attribute(ERROR_TYPE, reason_of(error))
        span.set_status(Status(StatusCode.ERROR))
    span.end()


@contextmanager
def span(
    name: str, attributes: Attributes | None = None, *, kind: SpanKind = SpanKind.INTERNAL
) -> Iterator[Span]:
    """A span around the block, whose own spans are its parts."""
    if _tracer.get() is None:
        yield INVALID_SPAN
        return
    begun = begin_span(name, attributes, kind=kind)
    token = context.attach(trace.set_span_in_context(begun))
    error: BaseException | None = None
    try:
        yield begun
    except BaseException as raised:
        error = raised
        raise
    finally:
        context.detach(token)
        end_span(begun, error)


def reason_of(error: BaseException) -> str:
    """What went wrong, in a word: a reason of the contract, or an error's class."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return CANCELLED
    if isinstance(error, ServiceError):
        return error.reason_name()
    return type(error).__name__
