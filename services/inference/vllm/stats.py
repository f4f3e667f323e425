"""What vLLM tells of its engine after each step, taken down in our own words."""

from __future__ import annotations

from typing import Any

from services.inference.engine.status import EngineReadings
from services.inference.vllm import environment  # noqa: F401 - it stands before vLLM's own imports

# isort: split
from vllm.v1.metrics.loggers import AggregateStatLoggerBase, PrometheusStatLogger
from vllm.v1.metrics.stats import IterationStats, SchedulerStats


def stat_logger(readings: EngineReadings) -> type[AggregateStatLoggerBase]:
    """A logger of vLLM's kind that takes down what we show; vLLM makes it by itself."""

    class Reader(PrometheusStatLogger):
        """Stands where vLLM would else put its own, whose series are observed for every token."""

        def __init__(self, vllm_config: Any, engine_indexes: list[int] | None = None) -> None:
            """Nothing of the one that it stands for: no series are registered."""

        def record(
            self,
            scheduler_stats: SchedulerStats | None,
            iteration_stats: IterationStats | None,
            mm_cache_stats: Any = None,
            engine_idx: int = 0,
        ) -> None:
            """Take down one step."""
            if scheduler_stats is not None:
                waiting = scheduler_stats.num_waiting_reqs + scheduler_stats.num_skipped_waiting_reqs
                readings.stands(scheduler_stats.num_running_reqs, waiting, scheduler_stats.kv_cache_usage)
                prefixes = scheduler_stats.prefix_cache_stats
                readings.happened(prefix_queries=prefixes.queries, prefix_hits=prefixes.hits)
            if iteration_stats is not None:
                readings.happened(preemptions=iteration_stats.num_preempted_reqs)

        def log(self) -> None:
            """There is nothing to log."""

        def log_engine_initialized(self) -> None:
            """The card tells it."""

        def record_sleep_state(self, sleep: int = 0, level: int = 0) -> None:
            """It never sleeps."""

        def record_admission_rejection(self, reason: str) -> None:
            """Seats refuse before the engine would."""

    return Reader
