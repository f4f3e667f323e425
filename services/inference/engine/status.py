"""How an engine is doing, as it tells after each of its steps."""

from __future__ import annotations

from dataclasses import dataclass, replace

from prometheus_client import Counter, Gauge

RUNNING = Gauge("parley_inference_engine_running_requests", "Requests that the engine generates.", ["model"])
WAITING = Gauge(
    "parley_inference_engine_waiting_requests", "Requests that wait within the engine.", ["model"]
)
KV_CACHE_USE = Gauge(
    "parley_inference_engine_kv_cache_use_ratio", "Share of the KV cache that is in use, 0 to 1.", ["model"]
)
PREFIX_QUERIES = Counter(
    "parley_inference_engine_prefix_queries_total",
    "Tokens of prompts that were looked for in the prefix cache.",
    ["model"],
)
PREFIX_HITS = Counter(
    "parley_inference_engine_prefix_hits_total", "Of them, those that were found there.", ["model"]
)
PREEMPTIONS = Counter(
    "parley_inference_engine_preemptions_total",
    "Requests that gave their place in the KV cache up, to be computed again.",
    ["model"],
)


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """How an engine is doing; `parley.inference.v1.EngineStatus` says what each means."""

    running_requests: int = 0
    waiting_requests: int = 0
    kv_cache_use: float = 0.0
    prefix_queries: int = 0
    prefix_hits: int = 0
    preemptions: int = 0


class EngineReadings:
    """What an engine told of itself so far."""

    def __init__(self, model: str) -> None:
        """Nothing was told yet."""
        self._model = model
        self.status = EngineStatus()

    def stands(self, running: int, waiting: int, kv_cache_use: float) -> None:
        """This is how it is now."""
        self.status = replace(
            self.status, running_requests=running, waiting_requests=waiting, kv_cache_use=kv_cache_use
        )
        RUNNING.labels(self._model).set(running)
        WAITING.labels(self._model).set(waiting)
        KV_CACHE_USE.labels(self._model).set(kv_cache_use)

    def happened(self, *, prefix_queries: int = 0, prefix_hits: int = 0, preemptions: int = 0) -> None:
        """So much happened since it was heard last."""
        if not (prefix_queries or prefix_hits or preemptions):
            return
        before = self.status
        self.status = replace(
            before,
            prefix_queries=before.prefix_queries + prefix_queries,
            prefix_hits=before.prefix_hits + prefix_hits,
            preemptions=before.preemptions + preemptions,
        )
        PREFIX_QUERIES.labels(self._model).inc(prefix_queries)
        PREFIX_HITS.labels(self._model).inc(prefix_hits)
        PREEMPTIONS.labels(self._model).inc(preemptions)
