"""Logs as JSON lines on standard error, and Prometheus metrics."""

from __future__ import annotations

import logging
import sys

import structlog
from prometheus_client import Counter, Gauge, Histogram, start_http_server
from structlog.tracebacks import ExceptionDictTransformer

from services.rpc.tracing import trace_ids

CALLS = Counter("parley_rpc_calls_total", "Calls that ended.", ["method", "code", "tenant_class"])
CALL_SECONDS = Histogram(
    "parley_rpc_call_seconds",
    "Time from a call's arrival to its end, in seconds.",
    ["method"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
CALLS_RUNNING = Gauge("parley_rpc_calls_running", "Calls being served now.", ["method"])


def configure_logging(service: str, level: str) -> None:
    """Write everything that is logged, by us and by libraries, as JSON lines.

    Args:
        service: Stands in every line.
        level: Least level that is written.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_trace,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Without the frames' variables, among which are passwords and tokens.
        structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=level, force=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)


def _add_trace(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Lead from a line to its trace."""
    event.update(trace_ids())
    return event


def serve_metrics(address: str) -> None:
    """Serve the metrics over HTTP at `host:port`; an empty address serves none.

    Raises:
        OSError: The address cannot be bound.
    """
    if address:
        host, _, port = address.rpartition(":")
        start_http_server(int(port), host)
