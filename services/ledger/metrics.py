"""What operators see of the ledger."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

UP = Gauge("parley_ledger_up", "Whether the ledger's store answered when it was last asked.")
FAILURES = Counter("parley_ledger_failures_total", "Steps that the ledger's store did not answer.", ["step"])
CALL_SECONDS = Histogram(
    "parley_ledger_step_seconds",
    "Time that a step of the ledger took, in seconds.",
    ["step"],
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1),
)
REFUSED = Counter(
    "parley_quota_refused_total", "Requests that a limit turned away.", ["dimension", "tenant_class"]
)
STOPPED = Counter("parley_quota_stopped_total", "Streams that a budget's end stopped.")
LOCAL = Counter("parley_quota_local_total", "Requests let in by this process alone, as the store was away.")
LOST = Counter("parley_usage_lost_total", "Records of usage that were given up.")
