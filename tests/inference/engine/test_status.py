"""What an engine tells of itself adds up, for `GetModel` and for Prometheus."""

from __future__ import annotations

from prometheus_client import REGISTRY

from services.inference.engine.status import EngineReadings, EngineStatus


def series(name: str, model: str) -> float | None:
    return REGISTRY.get_sample_value(f"parley_inference_engine_{name}", {"model": model})


def test_how_it_stands_is_the_latest_and_what_happened_adds_up() -> None:
    readings = EngineReadings("told")
    assert readings.status == EngineStatus()
    readings.stands(3, 2, 0.5)
    readings.happened(prefix_queries=100, prefix_hits=60)
    readings.happened(preemptions=1)
    readings.stands(1, 0, 0.25)
    readings.happened(prefix_queries=20, prefix_hits=4)
    assert readings.status == EngineStatus(1, 0, 0.25, 120, 64, 1)


def test_prometheus_has_the_same_by_model() -> None:
    readings, other = EngineReadings("shown"), EngineReadings("another")
    readings.stands(3, 2, 0.5)
    readings.happened(prefix_queries=100, prefix_hits=60, preemptions=2)
    other.stands(1, 0, 0.1)
    names = ("running_requests", "waiting_requests", "kv_cache_use_ratio")
    counted = ("prefix_queries_total", "prefix_hits_total", "preemptions_total")
    assert [series(name, "shown") for name in (*names, *counted)] == [3, 2, 0.5, 100, 60, 2]
    assert [series(name, "another") for name in names] == [1, 0, 0.1]
