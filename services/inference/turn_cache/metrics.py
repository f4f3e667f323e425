"""What a replica counts of its cache. The hit ratio is that of `hit` and `shared` to all but `unused`."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

TURNS = Counter(
    "parley_inference_cache_turns_total",
    "Model turns by model and by what the cache had of them: unused, miss, hit, shared.",
    ["model", "cache"],
)
FLIGHTS = Gauge("parley_inference_cache_flights", "Turns that are shared, or could be, at this moment.")
LOOK_UP_SECONDS = Histogram(
    "parley_inference_cache_look_up_seconds",
    "Time that it takes to know whether a turn is cached, in seconds.",
    buckets=(0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.1, 0.25, 0.5),
)
TAKEOVERS = Counter(
    "parley_inference_cache_takeovers_total", "Turns that this replica went on with after another was lost."
)
STORED_BYTES = Counter(
    "parley_inference_cache_stored_bytes_total", "Bytes of the turns that were kept, compressed.", ["model"]
)
BROKEN = Counter("parley_inference_cache_broken_total", "Entries that were not understood, and thrown away.")
FAILURES = Counter(
    "parley_inference_cache_failures_total", "Times that the cache's store did not answer.", ["asked"]
)
