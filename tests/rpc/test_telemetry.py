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
