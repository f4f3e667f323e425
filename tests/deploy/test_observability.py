"""Rules and dashboards ask for metrics, and by labels, that are there."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import promql_parser as promql
import pytest
from prometheus_client import REGISTRY

from deploy.observability import dashboards
from services.rpc.certificate_expiry import expiry
from services.rpc.tls import TlsFiles
from tests.deploy.queries import GUIDE, inside, labels_kept, queries, recorded, rules, selectors

ROOT = Path(__file__).parents[2]
PROMTOOL = shutil.which(ROOT / ".venv/bin/promtool") or shutil.which("promtool")
# What Prometheus itself makes, and puts on everything; of a cluster, the pod too.
ITS_OWN = {"up": frozenset[str]()}
ITS_LABELS = {"job", "instance", "pod"}
# Of each of these there are few, whatever callers do: methods and models are known ones, tools are the
# catalogue's, and the others are enums.
BOUNDED = {
    *("asked", "cache", "code", "dimension", "kind", "method", "model", "reason", "state", "step"),
    *("tool", "where", "part", "outcome", "tenant_class"),
}
PARTS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


@cache
def metrics() -> dict[str, frozenset[str]]:
    """The series that our code registers, with their labels."""
    for path in sorted((ROOT / "services").rglob("*.py")):
        if "prometheus_client" in path.read_text():
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    labels = {each._name: each._labelnames for each in REGISTRY._collector_to_names if hasattr(each, "_name")}
    return {
        family.name + part: frozenset((*labels[family.name], *(("le",) if part == "_bucket" else ())))
        for family in REGISTRY.collect()
        if family.name.startswith("parley_")
        for part in PARTS[family.type]
    }


@pytest.mark.parametrize("where", queries())
def test_each_query_asks_for_what_is_there(where: str) -> None:
    known = {**metrics(), **recorded(), **ITS_OWN}
    asked = selectors(queries()[where])
    assert asked
    for selector in asked:
        if not selector.name.startswith("envoy_"):  # which the edge's own test asks the edge for
            assert selector.name in known
            matched = {matcher.name for matcher in selector.matchers.matchers}
            assert matched <= known[selector.name] | ITS_LABELS


def test_sums_are_by_labels_that_their_series_have() -> None:
    known = {**metrics(), **recorded(), **ITS_OWN}
    for where, query in queries().items():
        for aggregate in inside(promql.parse(query), promql.AggregateExpr):
            for selector in inside(aggregate, promql.VectorSelector):
                if not selector.name.startswith("envoy_"):
                    assert labels_kept(aggregate) <= {*known[selector.name], *ITS_LABELS}, where


def test_no_metric_has_a_label_that_grows_with_the_users() -> None:
    assert {label for labels in metrics().values() for label in labels} - {"le"} <= BOUNDED


@pytest.mark.skipif(
    PROMTOOL is None, reason="issue 6: no promtool here; deploy/setup.sh --dev brings Debian's"
)
def test_prometheus_own_tool_plays_the_rules_through() -> None:
    script = str(ROOT / "deploy/observability/check.sh")
    played = subprocess.run([script], capture_output=True, text=True, timeout=120, check=False)
    assert played.returncode == 0, played.stdout + played.stderr


def test_each_alert_says_how_urgent_it_is_and_what_to_do_and_stands_in_the_guide() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    for rule in alerts:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "action"}
        assert f"`{rule['alert']}`" in GUIDE


def test_the_dashboards_are_those_that_the_code_gives() -> None:
    assert dashboards.main(["--check"]) == 0
    for path in sorted(dashboards.FOLDER.glob("*.json")):
        panels = json.loads(path.read_text())["panels"]
        assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))


def test_a_certificate_tells_its_end_and_one_that_cannot_be_read_is_over(
    identity: Callable[[str], TlsFiles], tmp_path: Path
) -> None:
    assert expiry(identity("toy").certificate) > time.time() + 24 * 3600
    assert expiry(tmp_path / "none.pem") == 0
    (tmp_path / "broken.pem").write_text("no certificate")
    assert expiry(tmp_path / "broken.pem") == 0
