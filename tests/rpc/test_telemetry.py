"""What processes write about themselves."""

from __future__ import annotations

import json
import subprocess
import sys

FAULT = """
import structlog
from services.rpc.telemetry import configure_logging

configure_logging("toy", "INFO")

def fail(password):
    raise RuntimeError("a fault")

try:
    fail("cor" + "rect horse")
except RuntimeError:
    structlog.get_logger().exception("internal error", request_id="request-1")
"""


LINE = """
import structlog
from opentelemetry.sdk.trace import TracerProvider
from services.rpc.telemetry import configure_logging
from services.rpc.tracing import join_trace

configure_logging("toy", "INFO")
caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
structlog.get_logger().info("before")
join_trace(TracerProvider(shutdown_on_exit=False).get_tracer("toy"), [("traceparent", caller)], "call")
structlog.get_logger().info("within")
"""


def test_a_line_of_a_traced_call_leads_to_its_trace() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LINE], capture_output=True, text=True, timeout=60, check=True
    )
    before, within = map(json.loads, done.stderr.splitlines())
    assert "trace_id" not in before
    assert within["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert len(within["span_id"]) == 16


def test_a_fault_is_logged_in_full_but_for_the_values_it_met() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULT], capture_output=True, text=True, timeout=60, check=True
    )
    line = json.loads(done.stderr)
    (fault,) = line["exception"]
    assert (line["event"], line["service"], line["request_id"]) == ("internal error", "toy", "request-1")
    assert (fault["exc_type"], fault["exc_value"]) == ("RuntimeError", "a fault")
    assert fault["frames"][-1]["name"] == "fail"
    assert "correct horse" not in done.stderr
